package history

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/catena-im/catena/pkg/chain"
	"github.com/catena-im/catena/pkg/im"
	"github.com/catena-im/catena/pkg/kv"
	"github.com/catena-im/catena/pkg/kv/pebble"
	imv1 "github.com/catena-im/catena/proto/im/v1"
)

// site is a store that holds what a test entered, and a service that reads it.
type site struct {
	*Service
	t      testing.TB
	store  kv.Store
	batch  *kv.Batch
	fence  []byte
	heads  map[im.ConversationID]*imv1.ConversationHead
	in     map[im.ConversationID]map[im.UserID]*imv1.Participant
	users  map[im.UserID]*imv1.UserHead
	lists  map[chain.ListRef]*imv1.ListRecord
	behind bool // what is entered does not reach the user chains

	scanned int           // keys that pulls have looked at by scanning
	reads   int           // requests to the store
	slow    time.Duration // how long a scan takes for a key
}

// counting is a store that counts for a site what is read in it.
type counting struct {
	kv.Store
	site *site
}

func (c counting) Snapshot(ctx context.Context) (kv.Snapshot, error) {
	snap, err := c.Store.Snapshot(ctx)
	return countingSnapshot{snap, c.site}, err
}

type countingSnapshot struct {
	kv.Snapshot
	site *site
}

func (c countingSnapshot) Get(ctx context.Context, key []byte) ([]byte, error) {
	c.site.reads++
	return c.Snapshot.Get(ctx, key)
}

func (c countingSnapshot) BatchGet(ctx context.Context, keys [][]byte) ([][]byte, error) {
	c.site.reads++
	return c.Snapshot.BatchGet(ctx, keys)
}

func (c countingSnapshot) Scan(ctx context.Context, r kv.Range, fn func(key, value []byte) error) error {
	if bytes.Compare(r.Start, r.End) < 0 {
		c.site.reads++
	}
	return c.Snapshot.Scan(ctx, r, func(key, value []byte) error {
		c.site.scanned++
		time.Sleep(c.site.slow)
		return fn(key, value)
	})
}

const maxScan = 2500 // of a site

var layout = chain.Layout{ConvPartitions: 2, UserPartitions: 3}

func newSite(t testing.TB) *site {
	t.Helper()
	store, err := pebble.New(pebble.Config{Dir: t.TempDir(), CacheBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	s := &site{
		t: t, store: store, batch: new(kv.Batch),
		heads: map[im.ConversationID]*imv1.ConversationHead{}, in: map[im.ConversationID]map[im.UserID]*imv1.Participant{},
		users: map[im.UserID]*imv1.UserHead{}, lists: map[chain.ListRef]*imv1.ListRecord{},
	}
	s.Service, err = New(Config{Layout: layout, Scan: maxScan}, Deps{Store: counting{store, s}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *site) out() *chain.Writer { return chain.NewWriter(layout, s.batch) }

func (s *site) head(c im.ConversationID) *imv1.ConversationHead {
	if s.heads[c] == nil {
		s.heads[c] = &imv1.ConversationHead{Title: "title"}
	}
	return s.heads[c]
}

// said is what a message is, apart from who sends it where.
type said struct {
	text   string
	size   int // of the text, when it is not given
	part   []string
	self   bool
	system bool
}

// enter gives a message the next place in c, and in the chains of those who are named.
func (s *site) enter(c im.ConversationID, sender im.UserID, what said, to ...im.UserID) uint64 {
	h := s.head(c)
	h.LastIndex++
	id := im.NewMessageID(c, sender, im.ClientMessageID(fmt.Sprint(h.GetLastIndex())))
	msg := &imv1.Message{
		MessageId: id[:], ConversationId: string(c), ConversationIndex: h.GetLastIndex(), SenderId: string(sender),
		Type: imv1.MessageType_MESSAGE_TYPE_TEXT, ServerTimeMs: int64(1000 + h.GetLastIndex()),
	}
	text := cmp.Or(what.text, strings.Repeat("x", what.size))
	msg.Body = &imv1.Body{Content: &imv1.Body_Text{Text: &imv1.TextBody{Text: text}}}
	switch {
	case what.system:
		msg.Type, msg.Body = imv1.MessageType_MESSAGE_TYPE_SYSTEM, &imv1.Body{Content: &imv1.Body_System{System: new(imv1.SystemBody)}}
	case what.self:
		msg.Visibility = &imv1.Visibility{Scope: imv1.VisibilityScope_VISIBILITY_SCOPE_SELF}
	case what.part != nil:
		msg.Visibility = &imv1.Visibility{Scope: imv1.VisibilityScope_VISIBILITY_SCOPE_PART, UserIds: what.part}
	}
	s.out().Entry(msg, h.GetLastIndex(), 0, 0)
	s.out().ConversationHead(c, h)
	for _, u := range to {
		if !s.behind {
			s.told(u, c, h.GetLastIndex())
		}
	}
	if s.batch.Size() > kv.MaxBatch/2 || s.batch.Len() > kv.MaxOps/2 {
		s.commit()
	}
	return h.GetLastIndex()
}

func (s *site) told(u im.UserID, c im.ConversationID, index uint64) {
	if s.users[u] == nil {
		s.users[u] = &imv1.UserHead{OldestIndex: 1}
	}
	s.users[u].LastIndex++
	s.out().UserEntry(u, im.UserIndex(s.users[u].GetLastIndex()), chain.Ref{Conversation: c, Index: im.ConversationIndex(index)})
	s.out().UserHead(u, s.users[u])
	r := s.list(u, c)
	r.SeenIndex = index
	s.out().List(u, c, r)
}

func (s *site) list(u im.UserID, c im.ConversationID) *imv1.ListRecord {
	ref := chain.ListRef{User: u, Conversation: c}
	if s.lists[ref] == nil {
		s.lists[ref] = new(imv1.ListRecord)
	}
	return s.lists[ref]
}

func (s *site) read(u im.UserID, c im.ConversationID, index uint64) {
	r := s.list(u, c)
	r.ReadIndex = index
	s.out().List(u, c, r)
}

// join and leave begin and end an interval at the head of c, included.
func (s *site) join(c im.ConversationID, us ...im.UserID) {
	if s.in[c] == nil {
		s.in[c] = map[im.UserID]*imv1.Participant{}
	}
	for _, u := range us {
		p := s.in[c][u]
		if p == nil {
			p = new(imv1.Participant)
			s.in[c][u] = p
		}
		p.Role = imv1.MemberRole_MEMBER_ROLE_MEMBER
		p.Intervals = append(p.Intervals, &imv1.Interval{JoinedIndex: s.head(c).GetLastIndex()})
		s.out().Participant(c, u, p)
	}
}

func (s *site) leave(c im.ConversationID, u im.UserID) {
	p := s.in[c][u]
	p.Intervals[len(p.GetIntervals())-1].LeftIndex = s.head(c).GetLastIndex()
	s.out().Participant(c, u, p)
}

func (s *site) commit() {
	s.t.Helper()
	b := s.batch
	s.batch = new(kv.Batch)
	b.Fence, b.Expect, b.Next = chain.FenceKey(chain.Conv, 0), s.fence, append(s.fence[:len(s.fence):len(s.fence)], 'x')
	if err := s.store.Commit(context.Background(), b); err != nil {
		s.t.Fatal(err)
	}
	s.fence = b.Next
}

// ask pulls as the edge does: encoded, for user. It sees that the same comes in a frame.
func (s *site) ask(user im.UserID, body any) *imv1.HistoryReply {
	s.t.Helper()
	if s.batch.Len() > 0 {
		s.commit()
	}
	req := &imv1.HistoryRequest{UserId: string(user)}
	switch b := body.(type) {
	case *imv1.PullConversation:
		req.Body = &imv1.HistoryRequest_PullConversation{PullConversation: b}
	case *imv1.PullUser:
		req.Body = &imv1.HistoryRequest_PullUser{PullUser: b}
	case *imv1.ListConversations:
		req.Body = &imv1.HistoryRequest_ListConversations{ListConversations: b}
	case *imv1.GetConversation:
		req.Body = &imv1.HistoryRequest_GetConversation{GetConversation: b}
	case *imv1.GetHead:
		req.Body = &imv1.HistoryRequest_GetHead{GetHead: b}
	}
	reply := s.send(req)
	if s.slow == 0 { // else it is chance how far a pull comes
		scanned, reads := s.scanned, s.reads
		req.FrameId = proto.Uint64(1 << 40)
		if got, want := s.send(req), framed(s.t, req.GetFrameId(), reply); !proto.Equal(got, want) {
			s.t.Errorf("in a frame: got %v, want %v", got, want)
		}
		s.scanned, s.reads = scanned, reads
	}
	return reply
}

func (s *site) send(req *imv1.HistoryRequest) *imv1.HistoryReply {
	s.t.Helper()
	data, err := proto.Marshal(req)
	if err != nil {
		s.t.Fatal(err)
	}
	reply := new(imv1.HistoryReply)
	if err := proto.Unmarshal(s.answer(data), reply); err != nil {
		s.t.Fatal(err)
	}
	if frame := reply.GetFrame(); frame != nil { // the order of fields is not the encoder's
		frames := new(imv1.ServerFrames)
		if err := proto.Unmarshal(frame, frames); err != nil {
			s.t.Fatal(err)
		}
		reply.Body = &imv1.HistoryReply_Frame{Frame: encoded(s.t, frames)}
	}
	return reply
}

// framed is reply as it has to come where a frame is asked for.
func framed(t testing.TB, id uint64, reply *imv1.HistoryReply) *imv1.HistoryReply {
	t.Helper()
	f := &imv1.ServerFrame{Id: id}
	switch body := reply.GetBody().(type) {
	case *imv1.HistoryReply_ConversationPage:
		f.Body = &imv1.ServerFrame_ConversationPage{ConversationPage: body.ConversationPage}
	case *imv1.HistoryReply_UserPage:
		f.Body = &imv1.ServerFrame_UserPage{UserPage: body.UserPage}
	case *imv1.HistoryReply_ConversationList:
		f.Body = &imv1.ServerFrame_ConversationList{ConversationList: body.ConversationList}
	default:
		return reply
	}
	return &imv1.HistoryReply{Body: &imv1.HistoryReply_Frame{Frame: encoded(t, &imv1.ServerFrames{Frames: []*imv1.ServerFrame{f}})}}
}

func encoded(t testing.TB, m proto.Message) []byte {
	t.Helper()
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// answer is what is answered to an encoded request.
func (s *site) answer(request []byte) (answer []byte) {
	s.handle(context.Background(), request, func(a []byte) { answer = bytes.Clone(a) })
	return answer
}

// refused is the code with which a pull is refused. Its text must say something.
func refused(t *testing.T, r *imv1.HistoryReply, words ...string) imv1.ErrorCode {
	t.Helper()
	e := r.GetError()
	for _, w := range words {
		if !strings.Contains(e.GetText(), w) {
			t.Errorf("refused with %q, want %q in it", e.GetText(), w)
		}
	}
	return e.GetCode()
}

// page is a range to pull; 0 in the tables leaves a bound out.
func bound(i int) *uint64 {
	if i == 0 {
		return nil
	}
	return proto.Uint64(uint64(max(i, 0)))
}

const none = -1 // index 0, as a client may send it
