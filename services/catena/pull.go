package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"github.com/catena-im/catena/pkg/client"
	"github.com/catena-im/catena/pkg/im"
	imv1 "github.com/catena-im/catena/proto/im/v1"
	"github.com/catena-im/catena/services/catena/show"
)

// pulling is what the flags of `catena pull` say.
type pulling struct {
	access
	userChain    bool
	conversation string
	from, to     uint64
	limit        int
	newest, json bool
}

func pullCommand() *cobra.Command {
	var p pulling
	cmd := &cobra.Command{
		Use:   "pull USER (--user-chain | --conversation ID)",
		Short: "read a chain as a user sees it",
		Long: "Read a user's own chain, which holds every message the user took part in, or the chain of one conversation,\n" +
			"without what the user may not see. Indexes start at 1; those of a conversation may jump where something is\n" +
			"hidden. Pages are joined until --limit entries are read.",
		Example: "  catena pull bob --user-chain\n" +
			"  catena pull bob --conversation s:alice:bob --newest --limit 10\n" +
			"  catena pull bob --user-chain --from 100 --to 200 --json | jq .message.body",
		Args: between(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := p.validate(); err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			return p.with(session{cmd: cmd, user: args[0], base: "cli"}, func(ctx context.Context, c *client.Client, _ string) error {
				return p.pull(ctx, c, args[0], out)
			})
		},
	}
	p.bind(cmd)
	f := cmd.Flags()
	f.BoolVar(&p.userChain, "user-chain", false, "read the user's own chain")
	f.StringVar(&p.conversation, "conversation", "", "read the chain of this conversation, by its id")
	f.Uint64Var(&p.from, "from", 0, "first index to read; default: the first there is")
	f.Uint64Var(&p.to, "to", 0, "last index to read; default: the last there is")
	f.IntVar(&p.limit, "limit", im.DefaultPage, "most entries to read; 0: all")
	f.BoolVar(&p.newest, "newest", false, "begin with the newest")
	f.BoolVar(&p.json, "json", false, "print one JSON object a line")
	return cmd
}

func (p *pulling) validate() error {
	switch {
	case p.userChain == (p.conversation != ""):
		return usageError{errors.New("give either --user-chain or --conversation ID")}
	case p.limit < 0:
		return usageError{errors.New("--limit is negative; 0 reads all")}
	case p.to > 0 && p.from > p.to:
		return usageError{fmt.Errorf("--from %d is beyond --to %d", p.from, p.to)}
	}
	if p.conversation != "" {
		if _, err := im.ConversationID(p.conversation).Parse(); err != nil {
			return usageError{fmt.Errorf("--conversation %q: %w", p.conversation, err)}
		}
	}
	return nil
}

// entry is one line of the output.
type entry struct {
	index uint64
	line  string
	wire  proto.Message
}

// page is what one request brought.
type page struct {
	entries []entry
	more    bool
	next    uint64 // with more: where the next page begins
}

// request is what one request asks for.
type request struct {
	from, to *uint64
	limit    uint32
}

// pull joins pages until the limit or the end of the range.
func (p *pulling) pull(ctx context.Context, c *client.Client, user string, out io.Writer) error {
	fetch := p.conversationPage
	if p.userChain {
		fetch = p.userPage
	}
	return p.join(func(r request) (page, error) {
		ctx, cancel := context.WithTimeout(ctx, p.timeout)
		defer cancel()
		return fetch(ctx, c, viewOf(user), r)
	}, func(e entry) error {
		if p.json {
			return printJSON(out, e.wire)
		}
		_, err := fmt.Fprintln(out, e.line)
		return err
	})
}

func (p *pulling) join(fetch func(request) (page, error), show func(entry) error) error {
	r := request{from: given(p.from), to: given(p.to)}
	for left := p.limit; ; {
		r.limit = im.MaxPage
		if p.limit > 0 {
			r.limit = uint32(min(left, im.MaxPage))
		}
		got, err := fetch(r)
		if err != nil {
			return err
		}
		for _, e := range got.entries {
			if err := show(e); err != nil {
				return err
			}
		}
		left -= len(got.entries)
		if !got.more || p.limit > 0 && left <= 0 {
			return nil
		}
		if p.newest {
			r.to = &got.next
		} else {
			r.from = &got.next
		}
	}
}

func given(index uint64) *uint64 {
	if index == 0 {
		return nil
	}
	return &index
}

func (p *pulling) userPage(ctx context.Context, c *client.Client, view show.View, r request) (page, error) {
	got, err := c.PullUser(ctx, &imv1.PullUser{FromIndex: r.from, ToIndex: r.to, Limit: r.limit, NewestFirst: p.newest})
	if err != nil {
		return page{}, err
	}
	out := page{more: got.GetHasMore() && len(got.GetEntries()) > 0}
	for _, e := range got.GetEntries() {
		m := e.GetMessage()
		if out.next = e.GetUserIndex() + 1; p.newest {
			out.next -= 2
		}
		line := fmt.Sprintf("%d  %s %s", e.GetUserIndex(), m.GetConversationId(), view.Message(m))
		out.entries = append(out.entries, entry{e.GetUserIndex(), line, e})
	}
	return out, nil
}

func (p *pulling) conversationPage(ctx context.Context, c *client.Client, view show.View, r request) (page, error) {
	got, err := c.PullConversation(ctx, &imv1.PullConversation{
		ConversationId: p.conversation, FromIndex: r.from, ToIndex: r.to, Limit: r.limit, NewestFirst: p.newest,
	})
	if err != nil {
		return page{}, err
	}
	out := page{more: got.GetHasMore(), next: got.GetNextIndex()}
	for _, m := range got.GetMessages() {
		out.entries = append(out.entries, entry{m.GetConversationIndex(), view.Message(m), m})
	}
	return out, nil
}
