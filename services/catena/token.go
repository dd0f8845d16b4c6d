package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/catena-im/catena/pkg/im"
	"github.com/catena-im/catena/services/edge/token"
)

func tokenCommand() *cobra.Command {
	var data, device, audience string
	var ttl time.Duration
	cmd := &cobra.Command{
		Use:   "token USER",
		Short: "issue a token for the development server",
		Long: "Issue a token for USER, signed with the key of a development server (auth.key in its data folder), and print it.\n" +
			"Whoever can read that key can be anybody: it is for development. A server for others verifies tokens that\n" +
			"your own login service signs; see auth.keys in `catena config`.",
		Example: "  catena token alice\n" +
			"  catena token alice --device phone --ttl 1h\n" +
			"  catena chat alice --url ws://127.0.0.1:7300/ws --token \"$(catena token alice)\"",
		Args: between(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			claims := token.Claims{User: im.UserID(args[0]), Device: im.DeviceID(device), Expires: time.Now().Add(ttl)}
			text, err := issue(data, audience, claims)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), text)
			return err
		},
	}
	cmd.Flags().StringVar(&data, "data", orElse(os.Getenv(envData), defaultData), "data folder of the development server")
	cmd.Flags().StringVar(&device, "device", "", "the only device that may use the token; default: any")
	cmd.Flags().StringVar(&audience, "audience", token.DefaultAudience, "the server's auth.audience")
	cmd.Flags().DurationVar(&ttl, "ttl", 30*24*time.Hour, "how long the token is good for")
	return cmd
}

func issue(data, audience string, c token.Claims) (string, error) {
	if err := c.User.Validate(); err != nil {
		return "", usageError{fmt.Errorf("%q: %w", c.User, err)}
	}
	if c.Device != "" {
		if err := c.Device.Validate(); err != nil {
			return "", usageError{fmt.Errorf("--device %q: %w", c.Device, err)}
		}
	}
	if !c.Expires.After(time.Now()) {
		return "", usageError{errors.New("--ttl is not positive; the token would be expired already")}
	}
	key, err := LoadKey(data)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%s is not there: no development server has run on %s yet\nstart one with: %s dev%s",
			filepath.Join(data, keyFile), data, self(), onData(data))
	} else if err != nil {
		return "", err
	}
	return token.Issue(key, audience, c)
}
