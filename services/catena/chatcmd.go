package main

import (
	"context"
	"errors"
	"os"

	"github.com/spf13/cobra"

	"github.com/catena-im/catena/pkg/client"
	"github.com/catena-im/catena/services/catena/chat"
)

func chatCommand() *cobra.Command {
	var a access
	cmd := &cobra.Command{
		Use:   "chat USER [WITH]",
		Short: "chat as USER, interactively",
		Long: "Chat as USER: see the conversations with their unread messages, open one (WITH: a user, a conversation id or a\n" +
			"group's title), write, and see what arrives. Lines that begin with / are commands; /help lists them. Without a\n" +
			"terminal, lines are read from standard input, and the command ends when what they asked for is done.",
		Example: "  catena chat alice\n" +
			"  catena chat bob alice\n" +
			"  printf 'hello\\nare you there?\\n' | catena chat alice bob",
		Args: between(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg := chat.Config{Me: args[0]}
			if len(args) > 1 {
				cfg.With = args[1]
			}
			return a.chat(cmd, cfg)
		},
	}
	a.bind(cmd)
	return cmd
}

// chat moves the SDK's events into the chat. Its queue is bounded: while the screen stands still, the SDK waits.
func (a *access) chat(cmd *cobra.Command, cfg chat.Config) error {
	events, over := make(chan client.Event, 256), make(chan struct{})
	s := session{
		cmd: cmd, user: cfg.Me, base: "chat",
		onEvent: func(e client.Event) {
			select {
			case events <- e:
			case <-over:
			}
		},
		end: func() { close(over) },
	}
	return a.with(s, func(ctx context.Context, c *client.Client, _ string) error {
		screen, restore, err := screenOf(cmd)
		if err != nil {
			return err
		}
		return errors.Join(chat.Run(ctx, cfg, screen, c, events), restore())
	})
}

func screenOf(cmd *cobra.Command) (screen chat.Screen, restore func() error, err error) {
	in, fileIn := cmd.InOrStdin().(*os.File)
	out, fileOut := cmd.OutOrStdout().(*os.File)
	if !fileIn || !fileOut || !chat.Usable(in, out) {
		return chat.NewPlain(cmd.InOrStdin(), cmd.OutOrStdout()), func() error { return nil }, nil
	}
	t, err := chat.NewTerminal(in, out)
	if err != nil {
		return nil, nil, err
	}
	return t, t.Close, nil
}
