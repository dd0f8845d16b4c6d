package history

import (
	"fmt"
	"math"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/catena-im/catena/pkg/im"
	imv1 "github.com/catena-im/catena/proto/im/v1"
)

const (
	pair = im.ConversationID("s:ann:ben")
	note = im.ConversationID("s:ann:ann")
)

var team = im.Group("ann", "team")

func indexes(p *imv1.ConversationPage) string {
	out := ""
	for _, m := range p.GetMessages() {
		out += fmt.Sprint(m.GetConversationIndex(), " ")
	}
	return fmt.Sprintf("%sof %d more=%v", out, p.GetHeadIndex(), p.GetHasMore())
}

func places(p *imv1.UserPage) string {
	out := ""
	for _, e := range p.GetEntries() {
		out += fmt.Sprint(e.GetUserIndex(), " ")
	}
	return fmt.Sprintf("%sof %d more=%v", out, p.GetHead().GetUserIndex(), p.GetHasMore())
}

// The same ranges mean the same in both chains.
func TestRanges(t *testing.T) {
	s := newSite(t)
	for range 7 {
		s.enter(pair, "ann", said{text: "hi"}, "ann", "ben")
	}
	const outOfRange, invalid = imv1.ErrorCode_ERROR_CODE_INVALID_RANGE, imv1.ErrorCode_ERROR_CODE_INVALID_ARGUMENT
	for _, c := range []struct {
		from, to int
		limit    uint32
		newest   bool
		want     string
		code     imv1.ErrorCode
		text     string
	}{
		{want: "1 2 3 4 5 6 7 of 7 more=false"},
		{newest: true, want: "7 6 5 4 3 2 1 of 7 more=false"},
		{limit: 3, want: "1 2 3 of 7 more=true"},
		{limit: 3, newest: true, want: "7 6 5 of 7 more=true"},
		{limit: 7, want: "1 2 3 4 5 6 7 of 7 more=false"},
		{from: 4, limit: 3, want: "4 5 6 of 7 more=true"},
		{from: 5, limit: 3, want: "5 6 7 of 7 more=false"},
		{from: 2, to: 4, want: "2 3 4 of 7 more=false"},
		{from: 2, to: 4, limit: 2, newest: true, want: "4 3 of 7 more=true"},
		{to: 2, want: "1 2 of 7 more=false"},
		{from: 3, to: 3, want: "3 of 7 more=false"},
		{from: 6, to: 100, want: "6 7 of 7 more=false"},
		{from: 8, want: "of 7 more=false"},
		{from: 8, to: 9, newest: true, want: "of 7 more=false"},
		{from: 9, code: outOfRange, text: "beyond the head, which is 7; pull from 8 at most"},
		{from: math.MaxInt, code: outOfRange, text: "beyond the head"},
		{from: none, code: outOfRange, text: "begin at 1"},
		{to: none, code: outOfRange, text: "begin at 1"},
		{from: 4, to: 2, code: outOfRange, text: "reversed"},
		{limit: 501, code: invalid, text: "500 at most"},
		{limit: math.MaxUint32, code: invalid, text: "500 at most"},
		{limit: 500, want: "1 2 3 4 5 6 7 of 7 more=false"},
	} {
		name := fmt.Sprintf("from %d to %d, %d, newest %v", c.from, c.to, c.limit, c.newest)
		r := s.ask("ann", &imv1.PullConversation{
			ConversationId: string(pair), FromIndex: bound(c.from), ToIndex: bound(c.to), Limit: c.limit, NewestFirst: c.newest,
		})
		if code := refused(t, r, c.text); code != c.code || code == 0 && indexes(r.GetConversationPage()) != c.want {
			t.Errorf("conversation, %s: got %v, want %s %v", name, r, c.want, c.code)
		}
		r = s.ask("ann", &imv1.PullUser{FromIndex: bound(c.from), ToIndex: bound(c.to), Limit: c.limit, NewestFirst: c.newest})
		if code := refused(t, r, c.text); code != c.code || code == 0 && places(r.GetUserPage()) != c.want {
			t.Errorf("user, %s: got %v, want %s %v", name, r, c.want, c.code)
		}
	}
}

func TestEmptyChains(t *testing.T) {
	s := newSite(t)
	for _, c := range []struct {
		from, to int
		code     imv1.ErrorCode
	}{{}, {from: 1}, {to: 5}, {from: 1, to: 5}, {from: 2, code: imv1.ErrorCode_ERROR_CODE_INVALID_RANGE}} {
		r := s.ask("ann", &imv1.PullUser{FromIndex: bound(c.from), ToIndex: bound(c.to)})
		if r.GetError().GetCode() != c.code || c.code == 0 && places(r.GetUserPage()) != "of 0 more=false" {
			t.Errorf("user, %+v: %v", c, r)
		}
		r = s.ask("ann", &imv1.PullConversation{ConversationId: string(pair), FromIndex: bound(c.from), ToIndex: bound(c.to)})
		if r.GetError().GetCode() != c.code || c.code == 0 && indexes(r.GetConversationPage()) != "of 0 more=false" {
			t.Errorf("conversation, %+v: %v", c, r)
		}
	}
	if h := s.ask("ann", &imv1.GetHead{}).GetHead(); h.GetUserIndex() != 0 || h.GetOldestUserIndex() != 1 {
		t.Errorf("head is %v", h)
	}
}

// Pages that are cut by number or by bytes, forward and backward, come to the whole chain.
func TestPagesCoverTheChain(t *testing.T) {
	s := newSite(t)
	for i := range 40 {
		size := 10
		if i%3 == 0 {
			size = im.MaxBody - 100
		}
		s.enter(pair, "ann", said{size: size}, "ann", "ben")
	}
	for _, limit := range []uint32{1, 7, 0} {
		for _, newest := range []bool{false, true} {
			var conv, user []uint64
			pages := 0
			for from, to := 1, 40; ; {
				r := s.ask("ben", &imv1.PullConversation{ConversationId: string(pair), FromIndex: bound(from), ToIndex: bound(to), Limit: limit, NewestFirst: newest}).GetConversationPage()
				if n := proto.Size(r); n > maxPageBytes+im.MaxBody {
					t.Errorf("a page of %d bytes", n)
				}
				for _, m := range r.GetMessages() {
					conv = append(conv, m.GetConversationIndex())
				}
				if pages++; !r.GetHasMore() {
					break
				}
				last, next := int(conv[len(conv)-1]), int(r.GetNextIndex())
				if newest && next != last-1 || !newest && next != last+1 {
					t.Errorf("limit %d, newest %v: behind %d comes %d", limit, newest, last, next)
				}
				if newest {
					to = next
				} else {
					from = next
				}
			}
			for from, to := 1, 40; ; {
				r := s.ask("ben", &imv1.PullUser{FromIndex: bound(from), ToIndex: bound(to), Limit: limit, NewestFirst: newest}).GetUserPage()
				for _, e := range r.GetEntries() {
					user = append(user, e.GetUserIndex())
				}
				if !r.GetHasMore() {
					break
				}
				if last := int(user[len(user)-1]); newest {
					to = last - 1
				} else {
					from = last + 1
				}
			}
			if len(conv) != 40 || len(user) != 40 || limit == 0 && pages < 2 {
				t.Errorf("limit %d, newest %v: %d and %d of 40 entries, %d pages", limit, newest, len(conv), len(user), pages)
			}
			for i := range conv {
				want := uint64(i + 1)
				if newest {
					want = uint64(40 - i)
				}
				if conv[i] != want || user[i] != want {
					t.Fatalf("limit %d, newest %v: at %d are %d and %d, want %d", limit, newest, i, conv[i], user[i], want)
				}
			}
		}
	}
}

// Nobody learns of what they may not see, neither that it is there nor where the chain ends because of it.
func TestPullsShowWhatTheUserMaySee(t *testing.T) {
	s := newSite(t)
	s.enter(team, "ann", said{system: true}, "ann", "ben") // 1
	s.join(team, "ann", "ben", "eve")
	s.enter(team, "ann", said{text: "all"}, "ann", "ben", "eve")                 // 2
	s.enter(team, "ann", said{text: "ben", part: []string{"ben"}}, "ann", "ben") // 3
	s.enter(team, "ann", said{text: "ann", self: true}, "ann")                   // 4
	s.enter(team, "ann", said{system: true}, "ann", "ben", "eve")                // 5: ben is taken out
	s.leave(team, "ben")
	s.enter(team, "ann", said{text: "without ben"}, "ann", "eve") // 6
	s.enter(team, "ann", said{system: true}, "ann", "ben", "eve") // 7: ben is back, dan is new
	s.join(team, "ben", "dan")
	s.enter(team, "eve", said{text: "eve", self: true}, "eve")                   // 8
	s.enter(team, "ann", said{text: "all"}, "ann", "ben", "eve", "dan")          // 9
	s.enter(team, "ann", said{text: "ben", part: []string{"ben"}}, "ann", "ben") // 10
	s.enter(team, "ann", said{system: true}, "ann", "ben", "eve", "dan")         // 11: eve leaves
	s.leave(team, "eve")
	s.enter(team, "dan", said{text: "dan", self: true}, "dan") // 12
	for u, want := range map[im.UserID]string{
		"ann": "1 2 3 4 5 6 7 9 10 11 of 11 more=false",
		"ben": "1 2 3 5 7 9 10 11 of 11 more=false",
		"eve": "1 2 5 6 7 8 9 11 of 11 more=false",
		"dan": "7 9 11 12 of 12 more=false",
	} {
		r := s.ask(u, &imv1.PullConversation{ConversationId: string(team)})
		if got := indexes(r.GetConversationPage()); got != want {
			t.Errorf("%s: got %s, want %s", u, got, want)
		}
	}
	// A range that ends among what is hidden ends like one that ends at the head.
	r := s.ask("ann", &imv1.PullConversation{ConversationId: string(team), FromIndex: bound(12)})
	if got := indexes(r.GetConversationPage()); got != "of 11 more=false" {
		t.Errorf("from behind the last that ann sees: %s", got)
	}
	r = s.ask("ann", &imv1.PullConversation{ConversationId: string(team), FromIndex: bound(13)})
	if refused(t, r, "which is 11") != imv1.ErrorCode_ERROR_CODE_INVALID_RANGE {
		t.Errorf("from behind what is hidden from ann: %v", r)
	}
	// Whether a hidden entry is left to come does not show.
	r = s.ask("ann", &imv1.PullConversation{ConversationId: string(team), FromIndex: bound(7), ToIndex: bound(8), Limit: 1})
	if got := indexes(r.GetConversationPage()); got != "7 of 11 more=false" {
		t.Errorf("7 to 8: %s", got)
	}
	for u, want := range map[im.UserID]bool{"ann": true, "ben": true, "dan": true, "eve": false, "zoe": false} {
		r := s.ask(u, &imv1.GetConversation{ConversationId: string(team)})
		if got := r.GetConversation() != nil; got != want {
			t.Errorf("%s asks about the group: %v", u, r)
		}
	}
	c := s.ask("dan", &imv1.GetConversation{ConversationId: string(team)}).GetConversation()
	members := ""
	for _, m := range c.GetMembers() {
		members += fmt.Sprintf("%s since %d, ", m.GetUserId(), m.GetJoinedIndex())
	}
	if members != "ann since 1, ben since 7, dan since 7, " || c.GetHeadIndex() != 12 {
		t.Errorf("dan is told of %s and head %d", members, c.GetHeadIndex())
	}
}

// An outsider gets the same answer for what is there and for what is not.
func TestOutsidersLearnNothing(t *testing.T) {
	s := newSite(t)
	s.enter(pair, "ann", said{text: "hi"}, "ann", "ben")
	s.enter(team, "ann", said{system: true}, "ann")
	s.join(team, "ann")
	for there, not := range map[im.ConversationID]im.ConversationID{pair: "s:ann:zed", team: im.Group("ann", "no such group")} {
		for _, u := range []im.UserID{"eve", "a"} {
			a := s.ask(u, &imv1.PullConversation{ConversationId: string(there)}).GetError()
			b := s.ask(u, &imv1.PullConversation{ConversationId: string(not)}).GetError()
			c := s.ask(u, &imv1.GetConversation{ConversationId: string(there)}).GetError()
			d := s.ask(u, &imv1.GetConversation{ConversationId: string(not)}).GetError()
			for _, e := range []*imv1.Error{a, b, c, d} {
				if e.GetCode() != imv1.ErrorCode_ERROR_CODE_NOT_A_MEMBER || e.GetRetryable() {
					t.Errorf("%s asks about %s and %s: %v", u, there, not, e)
				}
			}
		}
	}
	for _, id := range []string{"", "x", "s:b:a", "g:short", "s:a.b:c", "\x00"} {
		for _, r := range []*imv1.HistoryReply{
			s.ask("ann", &imv1.PullConversation{ConversationId: id}), s.ask("ann", &imv1.GetConversation{ConversationId: id}),
		} {
			if refused(t, r, "conversation id") != imv1.ErrorCode_ERROR_CODE_INVALID_ID {
				t.Errorf("%q: %v", id, r)
			}
		}
	}
}

func TestOwnConversation(t *testing.T) {
	s := newSite(t)
	s.enter(note, "ann", said{text: "a"}, "ann")
	s.enter(note, "ann", said{text: "b", self: true}, "ann")
	if got := indexes(s.ask("ann", &imv1.PullConversation{ConversationId: string(note)}).GetConversationPage()); got != "1 2 of 2 more=false" {
		t.Error(got)
	}
	if c := s.ask("ann", &imv1.GetConversation{ConversationId: string(note)}).GetConversation(); len(c.GetMembers()) != 1 || c.GetHeadIndex() != 2 {
		t.Errorf("the conversation is %v", c)
	}
	l := s.ask("ann", &imv1.ListConversations{}).GetConversationList().GetConversations()
	if len(l) != 1 || l[0].GetUnread() != 0 || !l[0].GetMember() || l[0].GetLastMessage().GetConversationIndex() != 2 {
		t.Errorf("the list is %v", l)
	}
}

// The conversation chain may be ahead of the user's chain for a moment.
func TestHeadIsWhatTheChainHoldsAlready(t *testing.T) {
	s := newSite(t)
	s.enter(pair, "ann", said{text: "1"}, "ann", "ben")
	s.behind = true
	s.enter(pair, "ann", said{text: "2"}, "ann", "ben")
	s.enter(pair, "ann", said{text: "3", self: true}, "ann")
	s.enter(pair, "ben", said{text: "4", self: true}, "ben")
	for u, want := range map[im.UserID]string{"ann": "1 2 3 of 3 more=false", "ben": "1 2 4 of 4 more=false"} {
		if got := indexes(s.ask(u, &imv1.PullConversation{ConversationId: string(pair)}).GetConversationPage()); got != want {
			t.Errorf("%s: got %s, want %s", u, got, want)
		}
	}
}

// However much is hidden from a user, their pulls look at little of it.
func TestHiddenFloodDoesNotHoldPullsUp(t *testing.T) {
	s := newSite(t)
	s.enter(pair, "ann", said{text: "1"}, "ann", "ben")
	for range maxScan + 500 {
		s.enter(pair, "ann", said{size: 1, self: true}, "ann")
	}
	if got := indexes(s.ask("ben", &imv1.PullConversation{ConversationId: string(pair)}).GetConversationPage()); got != "1 of 1 more=false" {
		t.Errorf("ben gets %s", got)
	}
	l := s.ask("ann", &imv1.ListConversations{}).GetConversationList().GetConversations()[0]
	if l.GetUnread() != 0 || !l.GetUnreadCapped() {
		t.Errorf("ann, who never reads what she writes, is told %v", l)
	}
	l = s.ask("ben", &imv1.ListConversations{}).GetConversationList().GetConversations()[0]
	if l.GetUnread() != 1 || l.GetUnreadCapped() {
		t.Errorf("ben is told %v", l)
	}
}

// A page ends within a long run of what is hidden, and says where the next one begins: by counting indexes only, so that
// it tells nothing of what is in the run.
func TestPagesEndWithinWhatIsHidden(t *testing.T) {
	s := newSite(t)
	s.enter(pair, "ann", said{text: "1"}, "ann", "ben")
	for range maxScan + 500 {
		s.enter(pair, "ann", said{size: 1, self: true}, "ann")
	}
	last := s.enter(pair, "ann", said{text: "last"}, "ann", "ben")
	s.read("ben", pair, 1)
	for _, c := range []struct {
		name     string
		from, to int
		newest   bool
		want     string
		next     uint64
	}{
		{"rising", 0, 0, false, "1 of 3002 more=true", maxScan + 1},
		{"its second page", maxScan + 1, 0, false, "3002 of 3002 more=false", 0},
		{"from within", 3, 0, false, "of 3002 more=true", maxScan + 3},
		{"to a bound within, all of it hidden", 3, maxScan + 2, false, "of 3002 more=false", 0},
		{"to a bound further on, all of it hidden", 3, maxScan + 3, false, "of 3002 more=true", maxScan + 3},
		{"falling", 0, 0, true, "3002 of 3002 more=true", 502},
		{"its second page", 0, 502, true, "1 of 3002 more=false", 0},
	} {
		s.scanned = 0
		r := s.ask("ben", &imv1.PullConversation{ConversationId: string(pair), FromIndex: bound(c.from), ToIndex: bound(c.to), NewestFirst: c.newest})
		if got := indexes(r.GetConversationPage()); got != c.want || r.GetConversationPage().GetNextIndex() != c.next {
			t.Errorf("%s: got %s, next %d; want %s, next %d", c.name, got, r.GetConversationPage().GetNextIndex(), c.want, c.next)
		}
		if s.scanned > maxScan+1 {
			t.Errorf("%s: looked at %d entries", c.name, s.scanned)
		}
	}
	// So does the count of what is unread.
	if l := s.ask("ben", &imv1.ListConversations{}).GetConversationList().GetConversations()[0]; l.GetUnread() != 1 || !l.GetUnreadCapped() {
		t.Errorf("ben is told %v", l)
	}
	s.read("ben", pair, 503)
	if l := s.ask("ben", &imv1.ListConversations{}).GetConversationList().GetConversations()[0]; l.GetUnread() != 1 || l.GetUnreadCapped() || last != 3002 {
		t.Errorf("ben, who read up to 503 of %d, is told %v", last, l)
	}
}

// Where the store is slow, as with a long run of large messages, a pull gets as far as it can in half of its time, and the
// next one goes on: a page that took longer than a pull may take would never come.
func TestPagesEndInTime(t *testing.T) {
	s := newSite(t)
	s.enter(pair, "ann", said{text: "1"}, "ann", "ben")
	for range 300 {
		s.enter(pair, "ann", said{size: 1, self: true}, "ann")
	}
	last := s.enter(pair, "ann", said{text: "last"}, "ann", "ben")
	s.slow, s.cfg.Timeout = 5*time.Millisecond, 2*time.Second
	pages, got := 0, ""
	for from := 1; from != 0; pages++ {
		p := s.ask("ben", &imv1.PullConversation{ConversationId: string(pair), FromIndex: bound(from)}).GetConversationPage()
		for _, m := range p.GetMessages() {
			got += fmt.Sprint(m.GetConversationIndex(), " ")
		}
		next := int(p.GetNextIndex())
		if p.GetHasMore() != (next != 0) || p.GetHasMore() && next <= from || pages > 300 {
			t.Fatalf("page %d, from %d: got %v", pages, from, p)
		}
		from = next
	}
	if pages < 2 || got != fmt.Sprint("1 ", last, " ") {
		t.Errorf("%d pages hold %s", pages, got)
	}
	if l := s.ask("ben", &imv1.ListConversations{}).GetConversationList().GetConversations(); len(l) != 1 || !l[0].GetUnreadCapped() {
		t.Errorf("ben is told %v", l)
	}
}

// The head does not follow from the time that a pull has: what lies behind a shorter one would be lost to whoever pages.
func TestHeadIsFoundOrThePullFails(t *testing.T) {
	s := newSite(t)
	for i := range 100 {
		s.behind = i >= 30
		s.enter(pair, "ann", said{text: "m"}, "ann", "ben")
	}
	for range 40 {
		s.enter(pair, "ann", said{size: 1, self: true}, "ann")
	}
	s.slow, s.cfg.Timeout = 5*time.Millisecond, 300*time.Millisecond
	r := s.ask("ben", &imv1.PullConversation{ConversationId: string(pair), Limit: 1, NewestFirst: true})
	if head := r.GetConversationPage().GetHeadIndex(); head != 100 && r.GetError().GetCode() != imv1.ErrorCode_ERROR_CODE_UNAVAILABLE {
		t.Errorf("got head %d and error %v", head, r.GetError())
	}
}

// However much is hidden behind the head, a page has its own time.
func TestWhatIsHiddenBehindTheHeadShortensNoPage(t *testing.T) {
	s := newSite(t)
	for range 20 {
		s.enter(pair, "ann", said{text: "m"}, "ann", "ben")
	}
	for range 300 {
		s.enter(pair, "ann", said{size: 1, self: true}, "ann")
	}
	s.slow, s.cfg.Timeout = 5*time.Millisecond, 2500*time.Millisecond
	r := s.ask("ben", &imv1.PullConversation{ConversationId: string(pair)})
	if n := len(r.GetConversationPage().GetMessages()); n != 20 {
		t.Errorf("%d of 20 messages, error %v", n, r.GetError())
	}
}

// A scan whose time is over before it begins looks at something all the same, or the next page would begin where this one did.
func TestScansGetOn(t *testing.T) {
	left := budget{entries: 100, until: time.Now()}
	looked := 0
	for range 100 {
		if left.take() {
			looked++
		}
	}
	if looked != timeEvery {
		t.Errorf("looked at %d entries, want %d", looked, timeEvery)
	}
}

// The bytes of a message pass through a pull untouched, and nothing is made for each of them.
func TestPagesAllocateNothingPerEntry(t *testing.T) {
	s := newSite(t)
	for range im.MaxPage {
		s.enter(pair, "ann", said{text: "hi"}, "ann", "ben")
	}
	s.commit()
	req := &imv1.HistoryRequest{UserId: "ben", Body: &imv1.HistoryRequest_PullConversation{
		PullConversation: &imv1.PullConversation{ConversationId: string(pair), Limit: im.MaxPage},
	}}
	p := new(page)
	n := testing.AllocsPerRun(10, func() {
		if _, err := s.pull(t.Context(), req, p); err != nil {
			t.Fatal(err)
		}
	})
	if n > 2*im.MaxPage { // decoding takes five an entry; with the race detector pools lose much of what they keep
		t.Errorf("a page of %d entries takes %v allocations", im.MaxPage, n)
	}
}
