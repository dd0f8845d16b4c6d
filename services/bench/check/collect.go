package check

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	imv1 "github.com/catena-im/catena/proto/im/v1"
	"github.com/catena-im/catena/services/bench/check/judge"
	"github.com/catena-im/catena/services/bench/check/wire"
)

const (
	collectDevice = "collect"
	collectPage   = 500
	collectors    = 4 // users at a time
	outsiders     = 2 // who try to read a conversation of two others
	noGroup       = "g:aaaaaaaaaaaaaaaaaaaaaaaa"
)

// harvest is what one user pulled at the end.
type harvest struct {
	chain         judge.UserView
	conversations []judge.ConversationView
	infos         []judge.InfoView
}

// collect pulls every chain, as every user who may see it and as some who may not.
func (r *run) collect(ctx context.Context, record *judge.Record) error {
	wanted := r.wanted(record)
	harvests, errs := make([]harvest, len(r.world.users)), make([]error, len(r.world.users))
	turns := make(chan struct{}, collectors)
	var all sync.WaitGroup
	for i, user := range r.world.users {
		turns <- struct{}{}
		all.Go(func() {
			defer func() { <-turns }()
			errs[i] = r.harvest(ctx, user, wanted[user], &harvests[i])
		})
	}
	all.Wait()
	for _, h := range harvests {
		record.Users = append(record.Users, h.chain)
		record.Conversations = append(record.Conversations, h.conversations...)
		record.Infos = append(record.Infos, h.infos...)
	}
	return errors.Join(errs...)
}

// wanted is which conversations each user tries to read: groups by everybody, single ones by the two and by outsiders.
func (r *run) wanted(record *judge.Record) map[string][]string {
	rng := rand.New(rand.NewPCG(r.Seed, 2))
	wanted := map[string][]string{}
	want := func(user, id string) {
		if !slices.Contains(wanted[user], id) {
			wanted[user] = append(wanted[user], id)
		}
	}
	for _, id := range conversations(record) {
		users := r.world.users
		if pair, ok := strings.CutPrefix(id, "s:"); ok {
			users = strings.Split(pair, ":")
			for range outsiders {
				users = append(users, r.world.users[rng.IntN(len(r.world.users))])
			}
		}
		for _, u := range users {
			want(u, id)
		}
	}
	return wanted
}

// conversations are the ids of everything that was sent to or told of, and one that does not exist.
func conversations(record *judge.Record) []string {
	ids := map[string]bool{noGroup: true}
	for _, s := range record.Sends {
		ids[s.Conversation] = true
	}
	for _, c := range record.Commands {
		if c.Conversation != "" {
			ids[c.Conversation] = true
		}
	}
	for _, l := range record.Lists {
		for _, s := range l.Summaries {
			ids[s.GetConversationId()] = true
		}
	}
	return slices.Sorted(maps.Keys(ids))
}

// harvest pulls for one user. A lost connection is made again and the pull that it broke is repeated, until none
// succeeds for as long as the server may take to come to rest.
func (r *run) harvest(ctx context.Context, user string, ids []string, h *harvest) error {
	c := collector{run: r, user: user}
	tasks := []task{func(ctx context.Context, s *wire.Session) error { return c.userChain(ctx, s, h) }}
	for _, id := range ids {
		tasks = append(tasks,
			func(ctx context.Context, s *wire.Session) error { return c.conversation(ctx, s, id, h) },
			func(ctx context.Context, s *wire.Session) error { return c.info(ctx, s, id, h) })
	}
	progress := time.Now()
	for len(tasks) > 0 {
		err := r.visit(ctx, visitor{user: user, device: collectDevice}, func(ctx context.Context, s *wire.Session) error {
			for ; len(tasks) > 0; tasks = tasks[1:] {
				if err := tasks[0](ctx, s); err != nil {
					return err
				}
				progress = time.Now()
			}
			return nil
		})
		if err != nil && (time.Since(progress) > r.Settle || !pause(ctx, revisit)) {
			return fmt.Errorf("pull the chains of %s: %w", user, err)
		}
	}
	return nil
}

// task is a part of the harvest that is repeated as a whole when it fails.
type task func(context.Context, *wire.Session) error

// collector pulls for one user.
type collector struct {
	*run
	user string
}

// do makes a request; refused is the code of an answer that will not change.
func (c collector) do(ctx context.Context, s *wire.Session, frame *imv1.ClientFrame) (answer *imv1.ServerFrame, refused imv1.ErrorCode, err error) {
	ctx, cancel := context.WithTimeout(ctx, wireTimeout)
	defer cancel()
	answer, err = s.Do(ctx, frame)
	var refusal *wire.Refusal
	if errors.As(err, &refusal) && !refusal.Wire.GetRetryable() {
		return nil, refusal.Wire.GetCode(), nil
	}
	return answer, 0, err
}

var errNoPage = errors.New("a pull was answered with something else than its page, or with an empty page that promises more")

func (c collector) userChain(ctx context.Context, s *wire.Session, h *harvest) error {
	view := judge.UserView{User: c.user}
	for from := uint64(1); ; {
		answer, refused, err := c.do(ctx, s, &imv1.ClientFrame{Body: &imv1.ClientFrame_PullUser{
			PullUser: &imv1.PullUser{FromIndex: &from, Limit: collectPage}}})
		page := answer.GetUserPage()
		switch {
		case err != nil:
			return err
		case refused != 0:
			return fmt.Errorf("the user chain of %s from %d is refused with %s", c.user, from, refused)
		case page == nil || page.GetHasMore() && len(page.GetEntries()) == 0:
			return errNoPage
		}
		for _, e := range page.GetEntries() {
			view.Entries = append(view.Entries, judge.Entry{UserIndex: e.GetUserIndex(), Message: c.journal.intern(e.GetMessage())})
			from = e.GetUserIndex() + 1
		}
		if view.Head = page.GetHead(); !page.GetHasMore() {
			h.chain = view
			return nil
		}
	}
}

func (c collector) conversation(ctx context.Context, s *wire.Session, id string, h *harvest) error {
	view := judge.ConversationView{User: c.user, Conversation: id}
	for pull := (&imv1.PullConversation{ConversationId: id, Limit: collectPage}); ; {
		answer, refused, err := c.do(ctx, s, &imv1.ClientFrame{Body: &imv1.ClientFrame_PullConversation{PullConversation: pull}})
		page := answer.GetConversationPage()
		switch {
		case err != nil:
			return err
		case refused != 0:
			view.Refusal = refused
		case page == nil || page.GetHasMore() && page.GetNextIndex() <= pull.GetFromIndex():
			return errNoPage
		}
		for _, m := range page.GetMessages() {
			view.Messages = append(view.Messages, c.journal.intern(m))
		}
		next := page.GetNextIndex()
		pull.FromIndex = &next
		if view.Head = page.GetHeadIndex(); !page.GetHasMore() {
			h.conversations = append(h.conversations, view)
			return nil
		}
	}
}

func (c collector) info(ctx context.Context, s *wire.Session, id string, h *harvest) error {
	answer, refused, err := c.do(ctx, s, &imv1.ClientFrame{Body: &imv1.ClientFrame_GetConversation{
		GetConversation: &imv1.GetConversation{ConversationId: id}}})
	if err != nil {
		return err
	}
	h.infos = append(h.infos, judge.InfoView{User: c.user, Conversation: id, Info: answer.GetConversation(), Refusal: refused})
	return nil
}
