package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/catena-im/catena/pkg/client"
	"github.com/catena-im/catena/pkg/im"
	imv1 "github.com/catena-im/catena/proto/im/v1"
)

func groupCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "group",
		Short: "create a group, change its members, or look at it",
		Example: "  catena group create alice 'The team' bob carol\n" +
			"  catena group add alice g:abcdefghijklmnopqrstuvwx dave\n" +
			"  catena group info bob g:abcdefghijklmnopqrstuvwx",
		Args: knownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		changeCommand("create USER TITLE [MEMBER...]", "make a group that USER owns", between(2, -1), 2,
			func(ctx context.Context, c *client.Client, args []string) (*imv1.Sent, error) {
				return c.CreateGroup(ctx, args[1], args[2:])
			}),
		changeCommand("add USER GROUP MEMBER...", "add members; the owner may", between(3, -1), 2,
			func(ctx context.Context, c *client.Client, args []string) (*imv1.Sent, error) {
				return c.AddMembers(ctx, args[1], args[2:])
			}),
		changeCommand("remove USER GROUP MEMBER...", "remove members; the owner may", between(3, -1), 2,
			func(ctx context.Context, c *client.Client, args []string) (*imv1.Sent, error) {
				return c.RemoveMembers(ctx, args[1], args[2:])
			}),
		changeCommand("leave USER GROUP", "leave a group; the next longest member follows an owner", between(2, 2), 2,
			func(ctx context.Context, c *client.Client, args []string) (*imv1.Sent, error) {
				return c.LeaveGroup(ctx, args[1])
			}),
		infoCommand(),
	)
	return cmd
}

// changeCommand is a command that changes a group; args[members:] are user ids.
func changeCommand(use, short string, args cobra.PositionalArgs, members int,
	change func(context.Context, *client.Client, []string) (*imv1.Sent, error)) *cobra.Command {
	var a access
	var json bool
	cmd := &cobra.Command{
		Use: use, Short: short, Args: args,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := users(args[members:]); err != nil {
				return err
			}
			return a.with(session{cmd: cmd, user: args[0], base: "cli"}, func(ctx context.Context, c *client.Client, _ string) error {
				ctx, cancel := context.WithTimeout(ctx, a.timeout)
				defer cancel()
				sent, err := change(ctx, c, args)
				if err != nil {
					return err
				}
				if json {
					return printJSON(cmd.OutOrStdout(), sent)
				}
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "done: %s index %d\n", sent.GetConversationId(), sent.GetConversationIndex())
				return err
			})
		},
	}
	a.bind(cmd)
	cmd.Flags().BoolVar(&json, "json", false, "print the server's answer as JSON")
	return cmd
}

func users(ids []string) error {
	for _, id := range ids {
		if err := im.UserID(id).Validate(); err != nil {
			return usageError{fmt.Errorf("%q: %w", id, err)}
		}
	}
	return nil
}

func infoCommand() *cobra.Command {
	var a access
	var json bool
	cmd := &cobra.Command{
		Use:   "info USER CONVERSATION",
		Short: "show who is in a conversation that USER is in",
		Args:  between(2, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.with(session{cmd: cmd, user: args[0], base: "cli"}, func(ctx context.Context, c *client.Client, _ string) error {
				ctx, cancel := context.WithTimeout(ctx, a.timeout)
				defer cancel()
				conversation, err := c.Conversation(ctx, args[1])
				if err != nil {
					return err
				}
				if json {
					return printJSON(cmd.OutOrStdout(), conversation)
				}
				for _, line := range viewOf(args[0]).Conversation(conversation) {
					fmt.Fprintln(cmd.OutOrStdout(), line)
				}
				return nil
			})
		},
	}
	a.bind(cmd)
	cmd.Flags().BoolVar(&json, "json", false, "print JSON")
	return cmd
}
