package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/catena-im/catena/pkg/im"
	"github.com/catena-im/catena/services/edge/token"
)

// Environment variables of the client commands.
const (
	envURL   = "CATENA_URL"
	envToken = "CATENA_TOKEN"
	envData  = "CATENA_DATA"
)

// clientEnv are those that are no keys of the server's configuration.
var clientEnv = []string{envURL, envToken}

// access is how a client command reaches a server: its flags.
type access struct {
	url, token, data, device string
	timeout                  time.Duration
	debug                    bool
}

func (a *access) bind(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&a.url, "url", os.Getenv(envURL), "server, ws://host:port/ws (or "+envURL+"); default: the one that runs on --data")
	f.StringVar(&a.token, "token", "", "token of the user (or "+envToken+"); default: one signed with the key in --data")
	f.StringVar(&a.data, "data", orElse(os.Getenv(envData), defaultData), "data folder of the development server (or "+envData+"); devices are kept below it")
	f.StringVar(&a.device, "device", "", "device to be, whose outbox is kept; default: a free one")
	f.DurationVar(&a.timeout, "timeout", 15*time.Second, "how long to wait for the server")
	f.BoolVar(&a.debug, "debug", false, "log what the client does, to standard error")
}

func orElse(value, other string) string {
	if value != "" {
		return value
	}
	return other
}

// server is a resolved access.
type server struct {
	url     string
	token   func(context.Context) (string, error)
	devices string   // folder of the devices that talk to this server
	run     *RunFile // of the server on data; nil when it was named by its address
	data    string
}

// resolve finds the server and the token for user. Its errors say what to do.
func (a *access) resolve(user string) (server, error) {
	if err := im.UserID(user).Validate(); err != nil {
		return server{}, usageError{fmt.Errorf("%q: %w", user, err)}
	}
	s := server{url: a.url, devices: filepath.Join(a.data, "devices"), data: a.data}
	if s.url == "" {
		run, err := ReadRunFile(a.data)
		if errors.Is(err, fs.ErrNotExist) {
			return server{}, fmt.Errorf("no server found in %s: no `catena dev` runs on that folder\n"+
				"start one with: %s dev%s\nor name a server: --url ws://host:port/ws", a.data, self(), onData(a.data))
		} else if err != nil {
			return server{}, err
		}
		s.url, s.run = run.WSURL, &run
	} else {
		u, err := url.Parse(s.url)
		if err != nil || u.Host == "" || u.Scheme != "ws" && u.Scheme != "wss" {
			return server{}, usageError{fmt.Errorf("--url %s is not ws://host:port/ws or wss://host/ws", s.url)}
		}
		s.devices = filepath.Join(s.devices, url.PathEscape(u.Host))
	}
	var err error
	s.token, err = a.tokens(user)
	return s, err
}

// tokens makes the source of tokens: the one that is given, else the development key.
func (a *access) tokens(user string) (func(context.Context) (string, error), error) {
	if given := orElse(a.token, os.Getenv(envToken)); given != "" {
		if sub := subject(given); sub != "" && sub != user {
			return nil, fmt.Errorf("the token is for %s, not for %s; give the token of %s, or be %s", sub, user, user, sub)
		}
		return func(context.Context) (string, error) { return given, nil }, nil
	}
	key, err := LoadKey(a.data)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("no token for %s: neither --token nor %s is set, and %s is not there to sign one\n"+
			"get a token where the server runs, with: %s token %s", user, envToken, filepath.Join(a.data, keyFile), self(), user)
	} else if err != nil {
		return nil, err
	}
	return func(context.Context) (string, error) {
		return token.Issue(key, "", token.Claims{User: im.UserID(user), Expires: time.Now().Add(time.Hour)})
	}, nil
}

// subject is the user whom a token names, unverified; empty when it cannot be read, which the server then says.
func subject(text string) string {
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		return ""
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return ""
	}
	var claims struct {
		Subject string `json:"sub"`
	}
	if json.Unmarshal(payload, &claims) != nil {
		return ""
	}
	return claims.Subject
}

// log is where the SDK logs to.
func (a *access) log(cmd *cobra.Command) *slog.Logger {
	if !a.debug {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}
