package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/catena-im/catena/pkg/conf"
	"github.com/catena-im/catena/pkg/im"
	"github.com/catena-im/catena/services/edge/token"
)

func devCommand() *cobra.Command {
	cmd := configured(&cobra.Command{
		Use:   "dev",
		Short: "run the whole server in this process, on an embedded NATS server and Pebble",
		Long: "Run the whole server in this process, on an embedded NATS server and Pebble. Nothing has to be configured or\n" +
			"installed. All data is kept in one folder; stop with Ctrl-C and start again to go on.\n\n" +
			"Keys that only a cluster has are not shown here; see: catena config",
		Example: "  catena dev\n  catena dev --data /tmp/try --listen 127.0.0.1:0 --nats-listen 127.0.0.1:0 --admin-listen 127.0.0.1:0",
	}, func(cmd *cobra.Command, cfg Config, log *slog.Logger) error {
		cfg.Roles = allRoles
		if err := cfg.embedded(); err != nil {
			return err
		}
		tuneMemory()
		tuneProcs(cfg)
		return runDev(cmd.Context(), cfg, cmd.OutOrStdout(), log)
	})
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		f.Hidden = f.Name == "roles" || f.Name == "stream-replicas" || strings.HasPrefix(f.Name, "store-") ||
			strings.HasPrefix(f.Name, "nats-") && f.Name != "nats-listen"
	})
	return cmd
}

// configured makes cmd take the server's configuration, from its flags, the environment and a file.
func configured(cmd *cobra.Command, run func(*cobra.Command, Config, *slog.Logger) error) *cobra.Command {
	cfg := DefaultConfig()
	var file string
	cmd.Args = cobra.NoArgs
	cmd.Flags().StringVar(&file, "config", "", "configuration file (see: catena config)")
	bindErr := conf.Bind(cmd.Flags(), &cfg)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if bindErr != nil {
			return bindErr
		}
		if err := conf.Load(&cfg, conf.Sources{File: file, Env: os.Environ(), Other: clientEnv, Flags: cmd.Flags()}); err != nil {
			return err
		}
		return run(cmd, cfg, newLogger(cfg.Log, cmd.ErrOrStderr()))
	}
	return cmd
}

func newLogger(cfg LogConfig, w io.Writer) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(cfg.Level)); err != nil {
		level = slog.LevelInfo // the configuration admits known levels only
	}
	o := &slog.HandlerOptions{Level: level}
	if cfg.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}

func runDev(ctx context.Context, cfg Config, out io.Writer, log *slog.Logger) (err error) {
	n, err := newNode(ctx, cfg, log)
	if err != nil && ctx.Err() != nil {
		return nil // it was told to stop, and did
	} else if err != nil {
		return err
	}
	if cfg.Durability == "interval" {
		log.Warn("durability is interval: a power loss may take the last second of acknowledged messages")
	}
	defer func() { err = errors.Join(err, RemoveRunFile(cfg.Data)) }()
	return n.run(ctx, func() {
		r := RunFile{PID: os.Getpid(), WSURL: n.wsURL(), NATSURL: n.server.ClientURL(), Started: time.Now().UTC()}
		if err := WriteRunFile(cfg.Data, r); err != nil {
			log.Error("run file not written; give the client commands --url", "err", err)
		}
		n.greet(out, r)
	})
}

// greet says where the server is and what to try.
func (n *node) greet(out io.Writer, r RunFile) {
	fmt.Fprintf(out, "\nCatena is ready.\n\n  WebSocket  %s\n  NATS       %s\n  metrics    http://%s/metrics\n  data       %s\n\n",
		r.WSURL, r.NATSURL, reachable(n.admin.Addr()), n.cfg.Data)
	flags := onData(n.cfg.Data)
	if len(n.cfg.Auth.Keys) == 0 {
		for _, user := range []string{"alice", "bob"} {
			fmt.Fprintf(out, "  token for %-5s  %s\n", user, n.token(user))
		}
	} else {
		fmt.Fprintln(out, "  Clients need tokens that are signed with one of auth.keys.")
		flags += " --token TOKEN"
	}
	fmt.Fprintf(out, "\nTry, each in a terminal of its own:\n\n  %[1]s chat alice bob%[2]s\n  %[1]s chat bob alice%[2]s\n"+
		"  %[1]s send alice bob \"hello\"%[2]s\n  %[1]s pull bob --user-chain%[2]s\n\nStop with Ctrl-C.\n\n", self(), flags)
}

// token is a development token for user, good for a day.
func (n *node) token(user string) string {
	key, err := LoadKey(n.cfg.Data)
	if err != nil {
		return err.Error()
	}
	t, err := token.Issue(key, n.cfg.Auth.Audience, token.Claims{User: im.UserID(user), Expires: time.Now().Add(24 * time.Hour)})
	if err != nil {
		return err.Error()
	}
	return t
}
