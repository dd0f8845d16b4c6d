package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/catena-im/catena/pkg/client"
	imv1 "github.com/catena-im/catena/proto/im/v1"
)

func listCommand() *cobra.Command {
	var a access
	var json bool
	cmd := &cobra.Command{
		Use:     "list USER",
		Short:   "list a user's conversations with their last messages and unread counts",
		Example: "  catena list alice\n  catena list alice --json | jq 'select(.unread > 0) | .conversationId'",
		Args:    between(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.with(session{cmd: cmd, user: args[0], base: "cli"}, func(ctx context.Context, c *client.Client, _ string) error {
				ctx, cancel := context.WithTimeout(ctx, a.timeout)
				defer cancel()
				list, _, err := c.Conversations(ctx)
				if err != nil {
					return err
				}
				return printList(cmd, args[0], list, json)
			})
		},
	}
	a.bind(cmd)
	cmd.Flags().BoolVar(&json, "json", false, "print one JSON object a line")
	return cmd
}

func printList(cmd *cobra.Command, user string, list []*imv1.ConversationSummary, json bool) error {
	view := viewOf(user)
	for _, s := range list {
		if json {
			if err := printJSON(cmd.OutOrStdout(), s); err != nil {
				return err
			}
			continue
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%s  %s\n", s.GetConversationId(), view.Summary(s))
	}
	if len(list) == 0 && !json {
		fmt.Fprintf(cmd.OutOrStdout(), "%s has no conversations yet; start one with: catena send %s USER 'hello'\n", user, user)
	}
	return nil
}
