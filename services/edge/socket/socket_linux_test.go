package socket

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func atOnce() time.Duration { return 0 }

func atRandom() time.Duration { return time.Duration(rand.IntN(300)) * time.Microsecond }

// running is a poller that runs until stop, or the end of the test.
func running(t *testing.T, rest func() time.Duration) (p *Poller, stop func()) {
	t.Helper()
	p, err := NewPoller(2)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var run sync.WaitGroup
	run.Go(func() {
		if err := p.Run(ctx, rest); err != nil {
			t.Error(err)
		}
	})
	stop = func() { cancel(); run.Wait() }
	t.Cleanup(stop)
	return p, stop
}

// adopted returns both sides of a connection, the server's with the poller.
func adopted(t *testing.T, p *Poller) (server *Conn, client *net.TCPConn) {
	t.Helper()
	s, client, err := dial()
	if err != nil {
		t.Fatal(err)
	}
	server, ok := p.Adopt(s).(*Conn)
	if !ok {
		t.Fatal("the connection was not adopted")
	}
	t.Cleanup(func() { _, _ = server.Close(), client.Close() })
	return server, client
}

// Go's own poller must not be woken, which is what all this is for.
func TestGoDoesNotWatch(t *testing.T) {
	p, _ := running(t, atOnce)
	c, _ := adopted(t, p)
	watchers := 0
	files, err := filepath.Glob("/proc/self/fdinfo/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		info, err := os.ReadFile(f)
		if err != nil { // that of the reading of the folder
			continue
		}
		for line := range strings.Lines(string(info)) {
			if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "tfd:" && fields[1] == fmt.Sprint(c.fd) {
				watchers++
			}
		}
	}
	if watchers != 1 {
		t.Errorf("%d pollers watch the connection, want this one alone", watchers)
	}
}

// An end that came with the last bytes is found, although the read of those told that there is no more.
func TestTheEndIsFound(t *testing.T) {
	p, _ := running(t, atRandom)
	c, client := adopted(t, p)
	got := newInbox()
	if _, err := client.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := client.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	p.Receive(c, got)
	got.wantEnd(t, []byte("x"))
}

// The same, when the end comes at any time.
func TestEndsAreFoundWhenTheyCome(t *testing.T) {
	p, _ := running(t, atRandom)
	for i := range 300 {
		c, client := adopted(t, p)
		got := newInbox()
		sent := bytes.Repeat([]byte{byte(i)}, 1+rand.IntN(2000))
		var writing sync.WaitGroup
		writing.Go(func() {
			_, err := client.Write(sent)
			if i%2 == 0 {
				time.Sleep(atRandom())
			}
			if err := errors.Join(err, client.CloseWrite()); err != nil {
				t.Error(err)
			}
		})
		p.Receive(c, got)
		got.wantEnd(t, sent)
		writing.Wait()
		_, _ = c.Close(), client.Close()
	}
}

// However long bytes have come without end on one connection, another one waits for some reads of it only.
func TestAFloodKeepsNobodyWaiting(t *testing.T) {
	p, _ := running(t, atOnce)
	c, client := adopted(t, p)
	flood := newInbox()
	var pieces atomic.Int64
	flood.forget = true
	flood.each = func() {
		pieces.Add(1)
		time.Sleep(100 * time.Microsecond) // so that the kernel always has more
	}
	ctx, cancel := context.WithCancel(t.Context())
	var writing sync.WaitGroup
	writing.Go(func() {
		for ctx.Err() == nil {
			if _, err := client.Write(make([]byte, 1<<20)); err != nil {
				t.Error(err)
				return
			}
		}
	})
	p.Receive(c, flood)
	eventually(t, "the flood has gone on for some time", func() bool { return pieces.Load() > 2000 })
	for range 10 {
		c, client := adopted(t, p)
		other := newInbox()
		var at atomic.Int64
		other.each = func() { at.Store(pieces.Load()) }
		p.Receive(c, other)
		if _, err := client.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		before := pieces.Load() // after the write: how long this goroutine waits for its turn does not count
		eventually(t, "another connection is read", func() bool { return at.Load() > 0 })
		if waited := at.Load() - before; waited > 50 {
			t.Errorf("another connection waited for %d reads", waited)
		}
	}
	cancel()
	writing.Wait()
}

func TestWritesAwaitASlowReader(t *testing.T) {
	p, _ := running(t, atOnce)
	c, client := adopted(t, p)
	in := newInbox()
	p.Receive(c, in)
	sent := make([]byte, 20<<20)
	for i := range sent {
		sent[i] = byte(i >> 8)
	}
	var writing sync.WaitGroup
	writing.Go(func() {
		n, err := c.Write(sent)
		if err := errors.Join(err, c.CloseWrite()); n != len(sent) || err != nil {
			t.Errorf("wrote %d bytes, %v", n, err)
		}
	})
	got, err := io.ReadAll(client)
	writing.Wait()
	if err != nil || !bytes.Equal(got, sent) {
		t.Errorf("got %d bytes, %v; want the %d that were written", len(got), err, len(sent))
	}
	after := []byte("after the end of the other side")
	if _, err := client.Write(after); err != nil {
		t.Fatal(err)
	}
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	in.wantEnd(t, after)
}

// A write may wait before there is a receiver.
func TestAWriteAloneAwaitsASlowReader(t *testing.T) {
	p, _ := running(t, atOnce)
	c, client := adopted(t, p)
	var writing sync.WaitGroup
	writing.Go(func() {
		if _, err := c.Write(make([]byte, 20<<20)); err != nil {
			t.Error(err)
		}
	})
	eventually(t, "the write waits", func() bool { return c.writable.Load() != nil })
	if _, err := client.Write([]byte("early")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(client, make([]byte, 20<<20)); err != nil {
		t.Fatal(err)
	}
	writing.Wait()
	in := newInbox()
	p.Receive(c, in)
	if err := client.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	in.wantEnd(t, []byte("early"))
}

func TestAWriteThatNobodyReadsEndsWithItsDeadline(t *testing.T) {
	p, _ := running(t, atOnce)
	c, _ := adopted(t, p)
	if err := c.SetDeadline(time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	var writing sync.WaitGroup
	writing.Go(func() {
		for {
			if _, err := c.Write(make([]byte, 1<<20)); err != nil {
				if !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("got %v, want %v", err, os.ErrDeadlineExceeded)
				}
				return
			}
		}
	})
	eventually(t, "the write waits", func() bool { return c.writable.Load() != nil })
	if err := c.SetWriteDeadline(time.Now().Add(time.Millisecond)); err != nil { // sooner than before
		t.Fatal(err)
	}
	writing.Wait()
}

// A deadline may be set between the write that finds no room and the wait for it.
func TestADeadlineIsSeenByTheFirstWait(t *testing.T) {
	p, _ := running(t, atOnce)
	c, _ := adopted(t, p)
	for { // as Write does, up to where it begins to wait
		if _, err := c.file.Write(make([]byte, 1<<20)); errors.Is(err, syscall.EAGAIN) {
			break
		}
	}
	if err := c.SetWriteDeadline(time.Now().Add(time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- c.awaitRoom() }()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Error("the write waits on")
		c.wakeWriter()
		<-done
	}
}

func TestCloseEndsWhoWaits(t *testing.T) {
	p, _ := running(t, atOnce)
	c, _ := adopted(t, p)
	in := newInbox()
	p.Receive(c, in)
	var waiting sync.WaitGroup
	waiting.Go(func() {
		if _, err := c.Write(make([]byte, 64<<20)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("write: got %v, want %v", err, net.ErrClosed)
		}
	})
	eventually(t, "the write waits", func() bool { return c.writable.Load() != nil })
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	waiting.Wait()
	in.wantEnd(t, nil)
	if err := c.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed twice: got %v, want %v", err, net.ErrClosed)
	}
}

// A receiver that closes the connection is told the end, once, and nothing else.
func TestAReceiverMayClose(t *testing.T) {
	p, _ := running(t, atOnce)
	for range 100 {
		c, client := adopted(t, p)
		in := newInbox()
		in.each = func() { _ = c.Close() }
		p.Receive(c, in)
		if _, err := client.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		in.wantEnd(t, []byte("x"))
		if _, err := client.Read(make([]byte, 1)); err == nil {
			t.Fatal("the connection is open")
		}
	}
}

func TestWhoReceivesOnAClosedConnectionIsToldTheEnd(t *testing.T) {
	p, _ := running(t, atOnce)
	for i := range 100 {
		c, _ := adopted(t, p)
		in := newInbox()
		var closing sync.WaitGroup
		closing.Go(func() { _ = c.Close() })
		if i%2 == 0 {
			closing.Wait()
		}
		p.Receive(c, in)
		in.wantEnd(t, nil)
		closing.Wait()
	}
}

// What comes while connections are left alone is read afterwards.
func TestConnectionsRestTogether(t *testing.T) {
	const many = maxEvents + 100
	resting, wake := make(chan struct{}), make(chan struct{})
	p, _ := running(t, func() time.Duration {
		select {
		case resting <- struct{}{}:
			<-wake
		case <-wake:
		}
		return 0
	})
	in := make([]*inbox, many)
	clients := make([]*net.TCPConn, many)
	for i := range clients {
		c, client := adopted(t, p)
		in[i], clients[i] = newInbox(), client
		p.Receive(c, in[i])
	}
	write := func(to []*net.TCPConn) {
		for _, c := range to {
			if _, err := c.Write([]byte{1}); err != nil {
				t.Fatal(err)
			}
		}
	}
	write(clients[:1])
	<-resting
	in[0].wantMore(t)
	write(clients)
	for _, in := range in {
		if in.has() != 0 {
			t.Fatal("a connection is read in the rest")
		}
	}
	close(wake)
	for _, in := range in {
		in.wantMore(t)
	}
}

// Descriptors are used again at once: what belongs to one connection must never reach another.
func TestShortConnectionsAreKeptApart(t *testing.T) {
	p, _ := running(t, atRandom)
	var all sync.WaitGroup
	for worker := range 8 {
		all.Go(func() {
			for i := range 100 {
				s, c, err := dial()
				if err != nil {
					t.Error(err)
					return
				}
				server := p.Adopt(s)
				word := fmt.Appendf(nil, "%d of %d", i, worker)
				_ = c.SetDeadline(time.Now().Add(patience))
				in := newInbox()
				p.Receive(server, in)
				if _, err := c.Write(word); err != nil {
					t.Error(err)
				}
				in.wantBytes(t, len(word))
				if err := server.Close(); err != nil {
					t.Errorf("close %T: %v", server, err)
				}
				in.wantEnd(t, word)
				if _, err := c.Read(word); !errors.Is(err, io.EOF) {
					t.Errorf("after Close the other side of a %T got %v, want %v", server, err, io.EOF)
				}
				_ = c.Close()
			}
		})
	}
	all.Wait()
}

func TestResetsAreEnds(t *testing.T) {
	p, _ := running(t, atRandom)
	for range 100 {
		c, client := adopted(t, p)
		in := newInbox()
		p.Receive(c, in)
		if err := errors.Join(client.SetLinger(0), client.Close()); err != nil {
			t.Fatal(err)
		}
		in.wantEnd(t, nil)
		_ = c.Close()
	}
}

func TestNoDescriptorIsLeft(t *testing.T) {
	count := func() int {
		files, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(files)
	}
	before := count()
	p, stop := running(t, atOnce)
	for range 10 {
		s, c := adopted(t, p)
		_, _ = s.Close(), c.Close()
	}
	stop()
	if after := count(); after != before {
		t.Errorf("%d descriptors are open, want the %d of before", after, before)
	}
	if len(p.conns) > 0 {
		t.Errorf("%d connections are remembered", len(p.conns))
	}
}

// Where descriptors are used up Go's own poller serves, and after the poller's end, too.
func TestOthersAreLeftToGo(t *testing.T) {
	p, stop := running(t, atOnce)
	a, b := net.Pipe()
	defer func() { _, _ = a.Close(), b.Close() }()
	if got := p.Adopt(a); got != a {
		t.Errorf("a pipe became %T", got)
	}
	for name, spoil := range map[string]func(*testing.T){"no descriptors": noDescriptors, "the end": func(*testing.T) { stop() }} {
		t.Run(name, func(t *testing.T) {
			s, c, err := dial()
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _, _ = s.Close(), c.Close() }()
			spoil(t)
			if got := p.Adopt(s); got != net.Conn(s) {
				t.Errorf("a connection became %T", got)
			}
			in := newInbox()
			p.Receive(s, in)
			if _, err := c.Write([]byte("hello")); err != nil {
				t.Fatal(err)
			}
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
			in.wantEnd(t, []byte("hello"))
		})
	}
}

// noDescriptors lets the process open no more until the end of the test.
func noDescriptors(t *testing.T) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
			t.Fatal(err)
		}
	})
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 3, Max: limit.Max}); err != nil {
		t.Fatal(err)
	}
}
