package main

import (
	"context"
	"log/slog"
	"strings"

	"github.com/spf13/cobra"

	"github.com/catena-im/catena/pkg/conf"
)

func serveCommand() *cobra.Command {
	return configured(&cobra.Command{
		Use:   "serve",
		Short: "run some of the roles of a cluster: edge, sequencer, history",
		Long: "Run some of the roles of a cluster in this process. Edges hold the clients' connections and need NATS only;\n" +
			"sequencers give messages their places and history answers pulls, and both need the store too. Run as many of\n" +
			"each as you like; the cluster is provisioned once before (see: catena provision). SIGTERM hands over and ends.",
		Example: "  catena serve --config catena.yaml --roles edge --node edge-1\n" +
			"  catena serve --config catena.yaml --roles sequencer,history --node worker-1",
	}, func(cmd *cobra.Command, cfg Config, log *slog.Logger) error {
		if err := cfg.shared(); err != nil {
			return err
		}
		tuneMemory()
		return runServe(cmd.Context(), cfg, log)
	})
}

// shared refuses what cannot be shared by the processes of a cluster.
func (c *Config) shared() error {
	switch {
	case len(c.Roles) == 0:
		return conf.Wrong("roles", "", "is empty; give some of %s", strings.Join(allRoles, ", "))
	case c.NATS.URL == "":
		return conf.Wrong("nats.url", "", "is empty; name the NATS servers of the cluster, or run catena dev on one machine")
	case c.Store.Driver == driverPebble && (c.has(roleSequencer) || c.has(roleHistory)):
		return conf.Wrong("store.driver", c.Store.Driver, "keeps the chains in one process; a cluster shares them: use %s", driverTiKV)
	case len(c.Auth.Keys) == 0 && c.has(roleEdge):
		return conf.Wrong("auth.keys", "", "is empty; name the keys that your application signs tokens with")
	}
	return nil
}

func runServe(ctx context.Context, cfg Config, log *slog.Logger) error {
	n, err := newNode(ctx, cfg, log)
	if err != nil && ctx.Err() != nil {
		return nil // it was told to stop, and did
	} else if err != nil {
		return err
	}
	return n.run(ctx, func() { log.Info("serving", "roles", strings.Join(cfg.Roles, ","), "admin", n.admin.Addr().String()) })
}
