package history

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/catena-im/catena/pkg/im"
	"github.com/catena-im/catena/pkg/kv"
	imv1 "github.com/catena-im/catena/proto/im/v1"
)

func (s *site) summaries(u im.UserID) map[string]*imv1.ConversationSummary {
	s.t.Helper()
	out := make(map[string]*imv1.ConversationSummary)
	for _, c := range s.ask(u, &imv1.ListConversations{}).GetConversationList().GetConversations() {
		out[c.GetConversationId()] = c
	}
	return out
}

func TestUnreadIsCountedFromPositions(t *testing.T) {
	s := newSite(t)
	s.enter(pair, "ann", said{text: "1"}, "ann", "ben")
	s.enter(pair, "ben", said{text: "2"}, "ann", "ben")
	s.enter(pair, "ann", said{text: "3", self: true}, "ann")
	s.enter(pair, "ann", said{system: true}, "ann", "ben")
	s.enter(pair, "ann", said{text: "5"}, "ann", "ben")
	s.enter(pair, "ben", said{text: "6"}, "ann", "ben")
	for _, c := range []struct {
		user im.UserID
		read uint64
		want uint32
	}{{"ann", 0, 2}, {"ben", 0, 2}, {"ben", 1, 1}, {"ben", 4, 1}, {"ben", 5, 0}, {"ben", 6, 0}, {"ann", 2, 1}, {"ann", 5, 1}, {"ann", 6, 0}} {
		s.read(c.user, pair, c.read)
		got := s.summaries(c.user)[string(pair)]
		if got.GetUnread() != c.want || got.GetUnreadCapped() || got.GetReadIndex() != c.read {
			t.Errorf("%s has read up to %d: %v, want %d", c.user, c.read, got, c.want)
		}
	}
	// What is in the conversation but not in the user's chain yet is not counted yet: a count never precedes its entries.
	s.read("ben", pair, 4)
	s.behind = true
	s.enter(pair, "ann", said{text: "7"}, "ann", "ben")
	if got := s.summaries("ben")[string(pair)]; got.GetUnread() != 1 || got.GetLastMessage().GetConversationIndex() != 6 {
		t.Errorf("ben is told %v of what is not in his chain", got)
	}
}

func TestUnreadOfFormerMembers(t *testing.T) {
	s := newSite(t)
	s.enter(team, "ann", said{system: true}, "ann", "ben")
	s.join(team, "ann", "ben")
	for range 3 {
		s.enter(team, "ann", said{text: "x"}, "ann", "ben")
	}
	s.enter(team, "ann", said{system: true}, "ann", "ben")
	s.leave(team, "ben")
	for range 5 {
		s.enter(team, "ann", said{text: "x"}, "ann")
	}
	got := s.summaries("ben")[string(team)]
	if got.GetUnread() != 3 || got.GetMember() || got.GetLastMessage().GetConversationIndex() != 5 || got.GetTitle() != "title" {
		t.Errorf("while out: %v", got)
	}
	s.enter(team, "ann", said{system: true}, "ann", "ben")
	s.join(team, "ben")
	s.enter(team, "ann", said{text: "x"}, "ann", "ben")
	if got := s.summaries("ben")[string(team)]; got.GetUnread() != 4 || !got.GetMember() || got.GetLastMessage().GetConversationIndex() != 12 {
		t.Errorf("back again: %v", got)
	}
}

func TestUnreadIsExactUpToTheCap(t *testing.T) {
	s := newSite(t)
	for i := range im.UnreadCap + 5 {
		s.enter(pair, "ann", said{text: "x"}, "ann", "ben")
		s.enter(pair, "ann", said{text: "hidden", self: true}, "ann")
		want, capped := uint32(min(i+1, im.UnreadCap)), i+1 > im.UnreadCap
		if i%200 != 0 && i < im.UnreadCap-2 {
			continue
		}
		if got := s.summaries("ben")[string(pair)]; got.GetUnread() != want || got.GetUnreadCapped() != capped {
			t.Errorf("%d messages: %d, capped %v; want %d, %v", i+1, got.GetUnread(), got.GetUnreadCapped(), want, capped)
		}
	}
}

func TestListComesInPages(t *testing.T) {
	s := newSite(t)
	var want []string
	for i := range 23 {
		c := im.Single("ann", im.UserID(fmt.Sprintf("user%d", i)))
		s.enter(c, "ann", said{text: "x"}, "ann", im.UserID(fmt.Sprintf("user%d", i)))
		want = append(want, string(c))
	}
	s.enter(team, "ann", said{system: true}, "ann")
	s.join(team, "ann")
	s.enter("s:anna:ben", "ben", said{text: "of somebody whose name begins alike"}, "anna", "ben")
	want = append(want, string(team))
	slices.Sort(want)
	for _, limit := range []uint32{1, 5, 23, 24, 0} {
		var got []string
		pages := 0
		for token := ""; (pages == 0 || token != "") && pages < 30; pages++ {
			l := s.ask("ann", &imv1.ListConversations{PageToken: token, Limit: limit}).GetConversationList()
			for _, c := range l.GetConversations() {
				got = append(got, c.GetConversationId())
			}
			if token = l.GetNextPageToken(); l.GetHead().GetUserIndex() != 24 {
				t.Errorf("head is %v", l.GetHead())
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("limit %d: got %v, want %v", limit, got, want)
		}
		if n := int(limit); n > 0 && pages != (24+n-1)/n {
			t.Errorf("limit %d: %d pages", limit, pages)
		}
	}
	if l := s.ask("nobody", &imv1.ListConversations{}).GetConversationList(); len(l.GetConversations()) != 0 || l.GetNextPageToken() != "" {
		t.Errorf("the list of nobody is %v", l)
	}
}

func TestListIsCutByBytes(t *testing.T) {
	s := newSite(t)
	for i := range 30 {
		s.enter(im.Single("ann", im.UserID(fmt.Sprint(i))), "ann", said{size: im.MaxBody - 100}, "ann")
	}
	n := 0
	for token := ""; n == 0 || token != ""; {
		l := s.ask("ann", &imv1.ListConversations{PageToken: token}).GetConversationList()
		if size := proto.Size(l); size > maxPageBytes+im.MaxBody || len(l.GetConversations()) == 0 {
			t.Fatalf("a page of %d bytes, %d conversations", size, len(l.GetConversations()))
		}
		n, token = n+len(l.GetConversations()), l.GetNextPageToken()
	}
	if n != 30 {
		t.Errorf("%d of 30 conversations", n)
	}
}

// A page looks at a bounded number of messages to count what is unread, and no page is empty.
func TestListIsCutByWhatIsLookedAt(t *testing.T) {
	s := newSite(t)
	const conversations, each = 12, 250
	for i := range conversations {
		from := im.UserID(fmt.Sprintf("user%02d", i))
		for range each {
			s.enter(im.Single("ann", from), from, said{size: 1}, "ann")
		}
	}
	pages, seen := 0, map[string]bool{}
	for token := ""; pages == 0 || token != ""; pages++ {
		s.scanned = 0
		l := s.ask("ann", &imv1.ListConversations{PageToken: token}).GetConversationList()
		for _, c := range l.GetConversations() {
			if c.GetUnread() != each || c.GetUnreadCapped() || seen[c.GetConversationId()] {
				t.Errorf("page %d: %v", pages, c)
			}
			seen[c.GetConversationId()] = true
		}
		if s.scanned > maxScan+2*conversations || len(l.GetConversations()) == 0 {
			t.Fatalf("page %d: %d conversations, %d keys looked at", pages, len(l.GetConversations()), s.scanned)
		}
		token = l.GetNextPageToken()
	}
	if len(seen) != conversations || pages != 2 {
		t.Errorf("%d of %d conversations on %d pages", len(seen), conversations, pages)
	}
}

// The list of a thousand conversations is read with few requests to the store, and none for each conversation.
func TestListReadsInBatches(t *testing.T) {
	s := newSite(t)
	for i := range 100 {
		from := im.UserID(fmt.Sprintf("user%02d", i))
		s.enter(im.Single("ann", from), from, said{text: "x"}, "ann")
	}
	s.reads = 0
	if l := s.ask("ann", &imv1.ListConversations{}).GetConversationList(); len(l.GetConversations()) != 100 || l.GetConversations()[99].GetUnread() != 1 {
		t.Fatalf("the list is %v", l)
	}
	if s.reads > 10 {
		t.Errorf("a page of 100 conversations with one unread message each takes %d reads of the store", s.reads)
	}
}

func TestForeignPageTokens(t *testing.T) {
	s := newSite(t)
	s.enter(pair, "ann", said{text: "x"}, "ann", "ben")
	s.enter("s:ben:cleo", "ben", said{text: "x"}, "ben", "cleo")
	for _, token := range []string{"!", "AAAA", "x", base64.StdEncoding.EncodeToString([]byte("s:a:b")) + "=", base64.RawURLEncoding.EncodeToString([]byte("s:b:a"))} {
		if r := s.ask("ann", &imv1.ListConversations{PageToken: token}); refused(t, r, "begin without one") != imv1.ErrorCode_ERROR_CODE_INVALID_ARGUMENT {
			t.Errorf("%q: %v", token, r)
		}
	}
	if r := s.ask("ann", &imv1.ListConversations{Limit: 501}); refused(t, r, "500 at most") != imv1.ErrorCode_ERROR_CODE_INVALID_ARGUMENT {
		t.Errorf("a huge page: %v", r)
	}
	// Another user's token is a place in one's own list, and shows nothing of theirs.
	token := s.ask("ben", &imv1.ListConversations{Limit: 1}).GetConversationList().GetNextPageToken()
	if l := s.ask("ann", &imv1.ListConversations{PageToken: token}).GetConversationList(); len(l.GetConversations()) != 0 {
		t.Errorf("ann gets %v with a token of ben's", l)
	}
}

func TestMalformedAndUnknownRequests(t *testing.T) {
	s := newSite(t)
	if r := s.ask("ann", nil); refused(t, r) != imv1.ErrorCode_ERROR_CODE_UNKNOWN_TYPE {
		t.Errorf("a request without a body: %v", r)
	}
	for _, data := range [][]byte{{0xff}, []byte("\x0a\x02\xff\xfe")} {
		r := new(imv1.HistoryReply)
		if err := proto.Unmarshal(s.answer(data), r); err != nil || r.GetError() == nil {
			t.Errorf("%x: %v, %v", data, r, err)
		}
	}
}

// brokenStore fails in one way.
type brokenStore struct {
	kv.Store
	err error
}

func (b brokenStore) Snapshot(ctx context.Context) (kv.Snapshot, error) {
	if b.err == nil {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return nil, b.err
}

func TestFaultsOfTheStore(t *testing.T) {
	s := newSite(t)
	s.cfg.Timeout = time.Millisecond
	for _, c := range []struct {
		err  error
		code imv1.ErrorCode
	}{
		{nil, imv1.ErrorCode_ERROR_CODE_UNAVAILABLE},
		{fmt.Errorf("read: %w", kv.ErrUnavailable), imv1.ErrorCode_ERROR_CODE_UNAVAILABLE},
		{fmt.Errorf("read: %w", kv.ErrExpired), imv1.ErrorCode_ERROR_CODE_UNAVAILABLE},
		{errors.New("secret detail"), imv1.ErrorCode_ERROR_CODE_INTERNAL},
	} {
		s.deps.Store = brokenStore{err: c.err}
		if e := s.ask("ann", &imv1.GetHead{}).GetError(); e.GetCode() != c.code || !e.GetRetryable() || e.GetText() == "secret detail" {
			t.Errorf("%v: %v", c.err, e)
		}
		s.cfg.Timeout = time.Minute
	}
}
