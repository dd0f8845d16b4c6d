package client

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	imv1 "github.com/catena-im/catena/proto/im/v1"
)

// checkReceived compares the messages told, and the position, with 1 to n.
func checkReceived(t *testing.T, f *fake, c *Client, n uint64) {
	t.Helper()
	f.await(told(n))
	if got := indexes(f.events()); !slices.Equal(got, upTo(n)) {
		t.Errorf("got %v, want 1 to %d", got, n)
	}
	if got := c.Position(); got != n {
		t.Errorf("position %d, want %d", got, n)
	}
}

func TestPushesOutOfLineArePulled(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		c, _ := f.start(f.config())
		p := f.login(0)
		p.push(1, 1, 5, 2, 4)
		p.page(p.next(), 5, 100)
		p.push(3, 5)
		checkReceived(t, f, c, 5)
	})
}

func TestGapIsPulledPageByPage(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		cfg := f.config()
		cfg.SyncFromStart = true
		c, _ := f.start(cfg)
		p := f.login(10)
		p.page(p.next(), 10, 4)
		p.push(11, 12) // while the gap is pulled
		p.page(p.next(), 12, 4)
		p.page(p.next(), 12, 4)
		checkReceived(t, f, c, 12)
		progress := of[SyncProgress](f.events())
		if len(progress) != 3 || progress[0] != (SyncProgress{Have: 4, Head: 10}) {
			t.Errorf("got %v", progress)
		}
	})
}

func TestHeadBringsWhatPushesDidNot(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		c, _ := f.start(f.config())
		p := f.login(0)
		p.send(&imv1.ServerFrame{Body: &imv1.ServerFrame_Head{Head: &imv1.Head{UserIndex: 3}}})
		p.page(p.next(), 3, 100)
		checkReceived(t, f, c, 3)
	})
}

func TestWhatCameWhileAwayIsPulled(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		c, _ := f.start(f.config())
		p := f.login(0)
		p.push(1, 2)
		f.await(told(2))
		p.conn.CloseNow()
		p = f.login(5)
		pull := p.next()
		if got := pull.GetPullUser().GetFromIndex(); got != 3 {
			t.Errorf("pulled from %d, want 3", got)
		}
		p.conn.CloseNow() // in the middle of the pull
		p = f.login(5)
		p.fail(p.next(), &imv1.Error{Code: imv1.ErrorCode_ERROR_CODE_UNAVAILABLE, Retryable: true})
		p.page(p.next(), 5, 100)
		checkReceived(t, f, c, 5)
	})
}

func TestNewDeviceStartsAtTheHead(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		cfg := f.config()
		cfg.Store = NewMemoryStore()
		c, stop := f.start(cfg)
		p := f.login(70)
		p.push(71)
		f.await(told(1))
		if got := c.Position(); got != 71 {
			t.Errorf("position %d, want 71", got)
		}
		stop()

		f.start(cfg) // not new any more
		p = f.login(73)
		if got := p.next().GetPullUser().GetFromIndex(); got != 72 {
			t.Errorf("pulled from %d, want 72", got)
		}
	})
}

func TestDeviceThatMetAnEmptyChainIsNotNew(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		cfg := f.config()
		cfg.Store = NewMemoryStore()
		_, stop := f.start(cfg)
		f.login(0)
		f.await(func(e []Event) bool { return len(of[Connected](e)) == 1 })
		stop()

		c, _ := f.start(cfg)
		p := f.login(2)
		p.page(p.next(), 2, 100)
		checkReceived(t, f, c, 2)
	})
}

func TestEntriesNoLongerKeptAreSkipped(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		cfg := f.config()
		cfg.SyncFromStart = true
		f.start(cfg)
		p := f.loginWith(&imv1.Connected{UserId: "alice", Head: &imv1.Head{UserIndex: 5, OldestUserIndex: 4}})
		p.page(p.next(), 5, 100)
		f.await(told(2))
		if got := of[Skipped](f.events()); len(got) != 1 || got[0] != (Skipped{From: 1, To: 3}) {
			t.Errorf("got %v", got)
		}
	})
}

// gate lets OnEvent through one message at a time.
func gate(cfg *Config) chan struct{} {
	open, record := make(chan struct{}), cfg.OnEvent
	cfg.OnEvent = func(e Event) {
		if _, ok := e.(MessageReceived); ok {
			<-open
		}
		record(e)
	}
	return open
}

func TestSlowApplicationIsNotWaitedFor(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		cfg := f.config()
		open := gate(&cfg)
		c, _ := f.start(cfg)
		p := f.login(0)
		const n = 3000
		p.push(upTo(n)...)
		if _, err := sendAnswered(c, p); err != nil {
			t.Errorf("send: %v", err)
		}
		synctest.Wait()
		c.mu.Lock()
		if kept := len(c.chain.early) + maxWaiting - c.chain.room; kept > maxWaiting+maxEarly {
			t.Errorf("%d entries are kept", kept)
		}
		c.mu.Unlock()
		close(open)
		for c.Position() < n {
			synctest.Wait()
			for len(p.in) > 0 {
				p.page(p.next(), n, 500)
			}
		}
		checkReceived(t, f, c, n)
	})
}

// sendAnswered sends a message whose answer comes at once.
func sendAnswered(c *Client, p *peer) (*imv1.Sent, error) {
	go func() { p.sent(p.next(), 1) }()
	return c.Send(context.Background(), text("bob", "m1"))
}

// failing is a store whose Apply fails from the n-th position on.
type failing struct {
	*MemoryStore
	from uint64
}

func (s *failing) Apply(ctx context.Context, change Change) error {
	if change.Position >= s.from {
		return errors.New("the disk is full")
	}
	return s.MemoryStore.Apply(ctx, change)
}

func TestNothingIsToldThatIsNotStored(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		cfg := f.config()
		cfg.Store = &failing{NewMemoryStore(), 3}
		c, stop := f.start(cfg)
		p := f.login(0)
		for i := range uint64(2) {
			p.push(i + 1)
			f.await(told(i + 1))
		}
		p.push(3, 4)
		<-c.stopped
		if err := stop(); err == nil || err.Error() != "store what happened: the disk is full" {
			t.Errorf("run returned %v", err)
		}
		if got := indexes(f.events()); !slices.Equal(got, upTo(2)) {
			t.Errorf("got %v, want 1 and 2", got)
		}
	})
}

func TestStoreGetsEachEntryWithItsPosition(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		store := &keeping{MemoryStore: NewMemoryStore()}
		cfg := f.config()
		cfg.Store = store
		f.start(cfg)
		p := f.login(0)
		p.push(upTo(100)...)
		f.await(told(100))
		if !slices.Equal(store.kept, upTo(100)) {
			t.Errorf("got %v, want 1 to 100", store.kept)
		}
	})
}

// keeping is a store that keeps the entries as well.
type keeping struct {
	*MemoryStore
	kept []uint64
}

func (s *keeping) Apply(ctx context.Context, change Change) error {
	for _, e := range change.Received {
		s.kept = append(s.kept, e.GetUserIndex())
	}
	if n := len(change.Received); n > 0 && change.Position != s.kept[len(s.kept)-1] {
		return errors.New("the position is not that of the last entry")
	}
	return s.MemoryStore.Apply(ctx, change)
}

func (p *peer) readMoved(version uint64) {
	p.send(&imv1.ServerFrame{Body: &imv1.ServerFrame_ReadMoved{ReadMoved: &imv1.ReadMoved{
		ConversationId: "g:x", ReadIndex: version, ListVersion: version,
	}}})
}

func TestReadPositions(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		c, _ := f.start(f.config())
		p := f.login(0)
		p.readMoved(1)
		p.readMoved(1) // repeated
		p.readMoved(2)
		p.readMoved(5) // 3 and 4 are lost
		p.readMoved(4) // late
		go func() {
			p.answer(p.next(), &imv1.ServerFrame{Body: &imv1.ServerFrame_ReadMarked{ReadMarked: &imv1.ReadMarked{
				ReadIndex: 6, ListVersion: 6,
			}}})
		}()
		if got, err := c.MarkRead(t.Context(), "g:x", 6); err != nil || got.GetListVersion() != 6 {
			t.Errorf("got %v, %v", got, err)
		}
		p.readMoved(7)
		f.await(func(e []Event) bool { return len(of[ReadMoved](e)) == 3 })
		var versions []uint64
		for _, m := range of[ReadMoved](f.events()) {
			versions = append(versions, m.ListVersion)
		}
		if !slices.Equal(versions, []uint64{1, 2, 7}) {
			t.Errorf("told of %v, want 1, 2 and 7", versions)
		}
		if got := of[ListChanged](f.events()); len(got) != 1 || got[0].ListVersion != 5 {
			t.Errorf("got %v, want one at 5", got)
		}
	})
}

func TestMovesBeyondTheBoundBecomeOneListChanged(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		cfg := f.config()
		open := gate(&cfg)
		c, _ := f.start(cfg)
		p := f.login(0)
		p.push(1) // OnEvent waits here
		for version := range uint64(1000) {
			p.readMoved(version + 1)
		}
		if _, err := sendAnswered(c, p); err != nil {
			t.Error(err)
		}
		close(open)
		f.await(func(e []Event) bool { return len(of[ListChanged](e)) > 0 })
		if got := of[ListChanged](f.events()); len(got) != 1 || got[0].ListVersion != 1000 {
			t.Errorf("got %v, want one at 1000", got)
		}
		if n := len(of[ReadMoved](f.events())); n != maxMoves {
			t.Errorf("told of %d moves, want %d", n, maxMoves)
		}
	})
}

func TestListVersionIsRemembered(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		cfg := f.config()
		cfg.Store = NewMemoryStore()
		for i, version := range []uint64{4, 4, 6} {
			_, stop := f.start(cfg)
			f.loginWith(&imv1.Connected{UserId: "alice", Head: &imv1.Head{ListVersion: version}})
			f.await(func(e []Event) bool { return len(of[Connected](e)) == i+1 })
			stop()
		}
		if got := of[ListChanged](f.events()); !slices.Equal(got, []ListChanged{{4}, {6}}) {
			t.Errorf("got %v, want 4 and 6", got)
		}
	})
}

func TestOnEventMayAsk(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		cfg := f.config()
		var c *Client
		result := make(chan error, 1)
		cfg.OnEvent = func(e Event) {
			if m, ok := e.(MessageReceived); ok {
				_, err := c.MarkRead(context.Background(), "s:alice:bob", m.Message.GetConversationIndex())
				enqueue(t, c, text("bob", "answer"))
				result <- err
			}
		}
		c, stop := f.start(cfg)
		p := f.login(0)
		p.push(1)
		p.answer(p.next(), &imv1.ServerFrame{Body: &imv1.ServerFrame_ReadMarked{ReadMarked: &imv1.ReadMarked{}}})
		if err := <-result; err != nil {
			t.Error(err)
		}
		expectSends(t, p, "answer")
		stop()
	})
}

func TestEndWhileOnEventAsks(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		cfg := f.config()
		var c *Client
		results := make(chan error, 2)
		cfg.OnEvent = func(e Event) {
			if _, ok := e.(MessageReceived); ok {
				_, err := c.Send(context.Background(), text("bob", "m1"))
				results <- err
				_, err = c.Conversation(context.Background(), "g:x")
				results <- err
			}
		}
		c, stop := f.start(cfg)
		p := f.login(0)
		p.push(1)
		expectSends(t, p, "m1")
		if err := stop(); err != nil {
			t.Errorf("run returned %v", err)
		}
		for range 2 {
			if err := <-results; !errors.Is(err, ErrStopped) {
				t.Errorf("got %v, want ErrStopped", err)
			}
		}
	})
}

func TestManyLostConnectionsDoNotFillTheQueueOfEvents(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		cfg := f.config()
		open, record := make(chan struct{}), cfg.OnEvent
		cfg.OnEvent = func(e Event) { <-open; record(e) }
		f.setRefuse(errors.New("nobody listens"))
		c, _ := f.start(cfg)
		for !c.losing() {
			<-time.After(time.Minute)
		}
		<-time.After(24 * time.Hour) // of the bubble's time
		f.mu.Lock()
		dials := f.dials
		f.mu.Unlock()
		if dials > maxLosses {
			t.Errorf("%d attempts, want %d at most", dials, maxLosses)
		}
		close(open)
		f.setRefuse(nil)
		f.login(0)
	})
}
