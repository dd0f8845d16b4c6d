package main

import (
	"slices"

	"github.com/spf13/cobra"

	"github.com/catena-im/catena/pkg/conf"
)

const annotatedHeader = `# The configuration of a Catena server: every key with its default. A file needs only the lines that differ; give it with
# --config. Each key is also an environment variable (nats.listen is CATENA_NATS_LISTEN) and, except auth.keys, a flag
# (--nats-listen); a flag wins over a variable, a variable over the file. Times have units (20s, 5m, 72h), sizes too
# (64MiB). A key that does not exist, or a value that does not fit, is refused with the right one named.

`

// annotatedConfig is the content of configs/catena.yaml.
func annotatedConfig() ([]byte, error) {
	cfg := DefaultConfig()
	body, err := conf.Render(&cfg)
	return slices.Concat([]byte(annotatedHeader), body), err
}

func configCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "config",
		Short: "print every configuration key with its default and what it means",
		Example: "  catena config > catena.yaml\n" +
			"  catena dev --config catena.yaml",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			content, err := annotatedConfig()
			if err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(content)
			return err
		},
	}
}
