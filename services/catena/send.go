package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/catena-im/catena/pkg/client"
	"github.com/catena-im/catena/pkg/im"
	imv1 "github.com/catena-im/catena/proto/im/v1"
)

// sending is what the flags of `catena send` say.
type sending struct {
	access
	id, body  string
	visibleTo []string
	onlyMe    bool
	json      bool
}

func sendCommand() *cobra.Command {
	var s sending
	cmd := &cobra.Command{
		Use:   "send FROM TO TEXT...",
		Short: "send one message and wait until the server has it for good",
		Long: "Send a message as the user FROM to TO: another user, FROM for a note to oneself, or a conversation id (g:… of a\n" +
			"group, s:…:…). TEXT is joined with blanks; - reads it from standard input. When no answer comes in time, the\n" +
			"message is kept in the outbox of the device and is sent by the next command of that device.",
		Example: "  catena send alice bob 'hello, bob'\n" +
			"  git log -1 | catena send alice g:abcdefghijklmnopqrstuvwx -\n" +
			"  catena send alice g:abcdefghijklmnopqrstuvwx 'not for carol' --visible-to bob,dave\n" +
			"  catena send alice bob --body '{\"location\":{\"latitudeDeg\":48.2,\"longitudeDeg\":16.4}}'\n" +
			"  catena send alice bob 'exactly once' --id order-17   # again with the same id: the same message",
		Args: func(cmd *cobra.Command, args []string) error {
			if s.body != "" {
				return between(2, 2)(cmd, args)
			}
			return between(3, -1)(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			m, err := s.message(args, cmd.InOrStdin())
			if err != nil {
				return err
			}
			return s.send(cmd, args[0], m)
		},
	}
	s.bind(cmd)
	cmd.Flags().StringVar(&s.id, "id", "", "client message id; sending the same id again does not make a second message")
	cmd.Flags().StringVar(&s.body, "body", "", "send this Body (JSON, see proto/im/v1/message.proto) instead of TEXT")
	cmd.Flags().StringSliceVar(&s.visibleTo, "visible-to", nil, "members who may see the message, besides FROM")
	cmd.Flags().BoolVar(&s.onlyMe, "only-me", false, "only FROM may see the message")
	cmd.Flags().BoolVar(&s.json, "json", false, "print the server's answer as JSON")
	return cmd
}

// message makes the message of a command line.
func (s *sending) message(args []string, in io.Reader) (client.Outgoing, error) {
	m, err := addressed(args[1])
	if err != nil {
		return m, err
	}
	if m.Visibility, err = visibility(s.visibleTo, s.onlyMe); err != nil {
		return m, err
	}
	if s.id != "" {
		if err := im.ClientMessageID(s.id).Validate(); err != nil {
			return m, usageError{fmt.Errorf("--id %q: %w", s.id, err)}
		}
		m.ClientMessageID = s.id
	}
	if s.body != "" {
		m.Body = &imv1.Body{}
		if err := protojson.Unmarshal([]byte(s.body), m.Body); err != nil {
			return m, usageError{fmt.Errorf("--body is not a Body: %w\nexample: --body '{\"text\":{\"text\":\"hello\"}}'", err)}
		}
		if m.Body.GetContent() == nil {
			return m, usageError{errors.New("--body is empty\nexample: --body '{\"text\":{\"text\":\"hello\"}}'")}
		}
		return m, nil
	}
	text := strings.Join(args[2:], " ")
	if text == "-" {
		raw, err := io.ReadAll(io.LimitReader(in, im.MaxBody+1))
		if err != nil {
			return m, fmt.Errorf("read the message: %w", err)
		}
		text = strings.TrimRight(string(raw), "\r\n")
	}
	if text == "" {
		return m, usageError{errors.New("the message is empty; nothing is sent")}
	}
	m.Type, m.Body = client.TextBody(text)
	return m, nil
}

// addressed makes a message to a user or into a conversation. No user id holds a colon, every conversation id does.
func addressed(to string) (client.Outgoing, error) {
	if strings.Contains(to, ":") {
		_, err := im.ConversationID(to).Parse()
		if err != nil {
			err = usageError{fmt.Errorf("%q: %w", to, err)}
		}
		return client.Outgoing{ConversationID: to}, err
	}
	err := im.UserID(to).Validate()
	if err != nil {
		err = usageError{fmt.Errorf("%q: %w", to, err)}
	}
	return client.Outgoing{To: to}, err
}

func visibility(users []string, onlyMe bool) (*imv1.Visibility, error) {
	switch {
	case onlyMe && len(users) > 0:
		return nil, usageError{errors.New("--visible-to and --only-me exclude each other")}
	case onlyMe:
		return &imv1.Visibility{Scope: imv1.VisibilityScope_VISIBILITY_SCOPE_SELF}, nil
	case len(users) > 0:
		return &imv1.Visibility{Scope: imv1.VisibilityScope_VISIBILITY_SCOPE_PART, UserIds: users}, nil
	}
	return nil, nil
}

func (s *sending) send(cmd *cobra.Command, from string, m client.Outgoing) error {
	return s.with(session{cmd: cmd, user: from, base: "cli"}, func(ctx context.Context, c *client.Client, device string) error {
		ctx, cancel := context.WithTimeout(ctx, s.timeout)
		defer cancel()
		sent, err := c.Send(ctx, m)
		if errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("the server did not answer within %v; the message is kept in the outbox of device %s\n"+
				"the next command with --device %s sends it, only once even if it has arrived already", s.timeout, device, device)
		} else if err != nil {
			return err
		}
		if s.json {
			err = printJSON(cmd.OutOrStdout(), sent)
		} else {
			_, err = fmt.Fprintln(cmd.OutOrStdout(), receipt(sent))
		}
		if err == nil && sent.GetContentDiffers() {
			return fmt.Errorf("--id %s was used before for another content, which stands; this one was dropped: give each message an id of its own", s.id)
		}
		return err
	})
}

// receipt is the answer to a send, for people.
func receipt(sent *imv1.Sent) string {
	text := fmt.Sprintf("sent: %s index %d, message %x", sent.GetConversationId(), sent.GetConversationIndex(), sent.GetMessageId())
	if sent.GetDuplicate() {
		text += " (it was there already)"
	}
	return text
}
