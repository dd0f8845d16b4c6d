package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "catena",
		Short: "an instant-messaging cluster, and its tools",
		Example: "  catena dev                             # a server in this terminal, its data in ./.catena\n" +
			"  catena chat alice bob                  # in a second terminal\n" +
			"  catena chat bob alice                  # in a third\n" +
			"  catena send alice bob 'hello, bob'\n" +
			"  catena pull bob --user-chain",
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          knownCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	if name := self(); name != "catena" {
		root.Long = root.Short + "\n\ncatena in what follows is: " + name
	}
	root.SetUsageFunc(plainUsage(root.UsageFunc()))
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w\nsee: %s --help", err, cmd.CommandPath())}
	})
	root.AddGroup(
		&cobra.Group{ID: serverGroup, Title: "Server:"},
		&cobra.Group{ID: clientGroup, Title: "Client:"},
		&cobra.Group{ID: operatorGroup, Title: "Operations:"},
	)
	add := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add(serverGroup, devCommand(), serveCommand(), provisionCommand(), repairCommand(), configCommand())
	add(clientGroup, tokenCommand(), chatCommand(), sendCommand(), listCommand(), pullCommand(), groupCommand())
	add(operatorGroup, newCheckCommand(), newBenchCommand(), planCommand(), inspectCommand())
	return root
}

const (
	serverGroup   = "server"
	clientGroup   = "client"
	operatorGroup = "operator"
)

// plainUsage leaves out what pflag adds to every switch, and keeps the columns as they are.
func plainUsage(usage func(*cobra.Command) error) func(*cobra.Command) error {
	return func(cmd *cobra.Command) error {
		var text strings.Builder
		out := cmd.OutOrStderr()
		cmd.SetOut(&text)
		err := usage(cmd)
		cmd.SetOut(out)
		const added = "[=true|false]"
		_, writeErr := io.WriteString(out, strings.ReplaceAll(text.String(), added, strings.Repeat(" ", len(added))))
		return errors.Join(err, writeErr)
	}
}

// knownCommand is the Args of a command that only holds others: what is left on the line is none of them.
func knownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	cmd.SuggestionsMinimumDistance = 2
	near := ""
	if like := cmd.SuggestionsFor(args[0]); len(like) > 0 {
		near = "; did you mean " + strings.Join(like, " or ") + "?"
	}
	return usageError{fmt.Errorf("%s has no command %q%s\nsee: %s --help", cmd.CommandPath(), args[0], near, cmd.CommandPath())}
}

// between is cobra.RangeArgs with an error that shows how the command is used; most < 0 means any number.
func between(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) >= least && (most < 0 || len(args) <= most) {
			return nil
		}
		return usageError{fmt.Errorf("%s takes %s, not %d\nusage: %s\nsee: %s --help",
			cmd.CommandPath(), arguments(least, most), len(args), cmd.UseLine(), cmd.CommandPath())}
	}
}

func arguments(least, most int) string {
	switch {
	case most < 0:
		return fmt.Sprintf("at least %d arguments", least)
	case least == most && most == 1:
		return "1 argument"
	case least == most:
		return fmt.Sprintf("%d arguments", least)
	case most == least+1:
		return fmt.Sprintf("%d or %d arguments", least, most)
	}
	return fmt.Sprintf("%d to %d arguments", least, most)
}
