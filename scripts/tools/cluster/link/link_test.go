package link

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

const patience = 20 * time.Second

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// route is a link from "a" to "b", which takes connections by accepted.
type route struct {
	*Network
	t        *testing.T
	accepted chan net.Conn
}

func laid(t *testing.T) *route {
	t.Helper()
	target, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	n, err := Open([]Link{{From: "a", To: "b", Listen: "127.0.0.1:0", Target: target.Addr().String()}}, "127.0.0.1:0")
	must(t, err)
	r := &route{n, t, make(chan net.Conn, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	ended, accepting := make(chan error, 1), make(chan struct{})
	go func() { ended <- n.Run(ctx) }()
	go func() {
		defer close(accepting)
		for {
			conn, err := target.Accept()
			if err != nil {
				return
			}
			r.accepted <- conn
		}
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		target.Close()
		<-accepting
	})
	return r
}

func (r *route) dial() net.Conn {
	r.t.Helper()
	conn, err := net.Dial("tcp", r.States()[0].Listen)
	must(r.t, err)
	r.t.Cleanup(func() { conn.Close() })
	must(r.t, conn.SetDeadline(time.Now().Add(patience)))
	return conn
}

// answered is the other end of a connection.
func (r *route) answered() net.Conn {
	r.t.Helper()
	select {
	case conn := <-r.accepted:
		r.t.Cleanup(func() { conn.Close() })
		must(r.t, conn.SetDeadline(time.Now().Add(patience)))
		return conn
	case <-time.After(patience):
		r.t.Fatal("the connection does not arrive")
		return nil
	}
}

func (r *route) set(f Fault) {
	r.t.Helper()
	wanted, err := Between([]Link{r.States()[0].Link}, []string{"a"}, []string{"b"}, f)
	must(r.t, err)
	states, err := Set(r.t.Context(), r.Control(), wanted)
	must(r.t, err)
	if states[0].Fault != f {
		r.t.Fatalf("got %+v, want %+v", states[0].Fault, f)
	}
}

func say(t *testing.T, conn net.Conn, text string) {
	t.Helper()
	_, err := io.WriteString(conn, text)
	must(t, err)
}

func hear(t *testing.T, conn net.Conn, want string) {
	t.Helper()
	got := make([]byte, len(want))
	_, err := io.ReadFull(conn, got)
	must(t, err)
	if string(got) != want {
		t.Fatalf("got %q, want %q", got, want)
	}
}

// quiet reports what arrives while the other way carries enough for it to have had the time.
func quiet(t *testing.T, lost, kept, other net.Conn) {
	t.Helper()
	heard := make(chan error, 1)
	go func() {
		_, err := lost.Read(make([]byte, 1))
		heard <- err
	}()
	for range 100 {
		say(t, kept, "y")
		hear(t, other, "y")
	}
	select {
	case err := <-heard:
		t.Fatalf("something arrived where nothing can (%v)", err)
	default:
	}
	must(t, lost.SetReadDeadline(time.Now()))
	if err := <-heard; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("got %v, want nothing", err)
	}
	must(t, lost.SetReadDeadline(time.Now().Add(patience)))
}

func TestLinkCarriesBothWaysAndTheEnds(t *testing.T) {
	r := laid(t)
	a := r.dial()
	b := r.answered()
	large := strings.Repeat("0123456789", 40_000)
	go func() { _, _ = io.WriteString(a, large) }() // ends with the connection
	hear(t, b, large)
	must(t, a.(*net.TCPConn).CloseWrite())
	if _, err := b.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Fatalf("got %v, want the end", err)
	}
	say(t, b, "still") // one half is closed
	hear(t, a, "still")
	b.Close()
	if _, err := a.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Fatalf("got %v, want the end", err)
	}
}

func TestCutResetsWhatIsThereAndWhatComes(t *testing.T) {
	r := laid(t)
	a := r.dial()
	b := r.answered()
	say(t, a, "x")
	hear(t, b, "x")
	r.set(Fault{Cut: true})
	for name, conn := range map[string]net.Conn{"a": a, "b": b} {
		if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%s: got %v, want a reset", name, err)
		}
	}
	fresh, err := net.Dial("tcp", r.States()[0].Listen) // which may tell at once
	if err == nil {
		defer fresh.Close()
		must(t, fresh.SetDeadline(time.Now().Add(patience)))
		_, err = fresh.Read(make([]byte, 1))
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("a new one: got %v, want a reset", err)
	}
	r.set(Fault{})
	a = r.dial()
	b = r.answered()
	say(t, b, "y")
	hear(t, a, "y")
}

func TestOneWayIsLostAndArrivesWhenHealed(t *testing.T) {
	r := laid(t)
	a := r.dial()
	b := r.answered()
	for _, tt := range []struct {
		fault    Fault
		from, to net.Conn
	}{{Fault{LoseTo: true}, a, b}, {Fault{LoseFrom: true}, b, a}} {
		r.set(tt.fault)
		say(t, tt.from, "first ")
		say(t, tt.from, "second")
		quiet(t, tt.to, tt.to, tt.from)
		r.set(Fault{})
		hear(t, tt.to, "first second")
	}
}

func TestEndIsNotHeardOverALostWay(t *testing.T) {
	r := laid(t)
	a := r.dial()
	b := r.answered()
	r.set(Fault{LoseTo: true})
	must(t, a.(*net.TCPConn).CloseWrite())
	quiet(t, b, b, a)
	r.set(Fault{})
	if _, err := b.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Fatalf("got %v, want the end", err)
	}
}

func TestNothingConnectsOverASilentLink(t *testing.T) {
	r := laid(t)
	for _, f := range []Fault{{LoseTo: true}, {LoseFrom: true}, {LoseTo: true, LoseFrom: true}} {
		r.set(f)
		a := r.dial() // the system takes it
		say(t, a, "x")
		r.set(Fault{Cut: true}) // after which nothing of it can arrive any more
		if _, err := a.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Fatalf("%v: got %v, want a reset", f, err)
		}
		select {
		case <-r.accepted:
			t.Fatalf("%v: connected", f)
		default:
		}
	}
}

func TestSlowLinkHoldsEveryPiece(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r relay
		slow := &condition{Fault: Fault{Delay: time.Second}, over: make(chan struct{})}
		r.now.Store(slow)
		began := time.Now()
		if !r.pass(t.Context(), forth) || time.Since(began) != time.Second {
			t.Errorf("held for %v", time.Since(began))
		}
		time.AfterFunc(time.Millisecond, func() {
			r.now.Store(&condition{})
			close(slow.over)
		})
		began = time.Now()
		if !r.pass(t.Context(), back) || time.Since(began) != time.Millisecond {
			t.Errorf("held for %v though it was healed", time.Since(began))
		}
	})
}

func TestNetworkRefusesWhatItDoesNotKnow(t *testing.T) {
	r := laid(t)
	cut := State{Link{From: "a", To: "b"}, Fault{Cut: true}}
	for want, wanted := range map[string][]State{
		"no link from b to a": {cut, {Link{From: "b", To: "a"}, Fault{}}},
		"a delay of 1h0m0s":   {cut, {Link{From: "a", To: "b"}, Fault{Delay: time.Hour}}},
	} {
		if _, err := Set(t.Context(), r.Control(), wanted); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	w := httptest.NewRecorder()
	r.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPut, "/", bytes.NewReader([]byte("no json"))))
	if w.Code != http.StatusBadRequest {
		t.Errorf("got %d", w.Code)
	}
	states, err := Get(t.Context(), r.Control())
	must(t, err)
	if states[0].Fault != (Fault{}) {
		t.Errorf("a refused change did %v", states[0].Fault)
	}
}

func TestFaultIsSeenFromTheSideThatIsNamedFirst(t *testing.T) {
	links := []Link{{From: "s", To: "n"}, {From: "n", To: "m"}, {From: "t", To: "s"}}
	oneWay := Fault{LoseTo: true}
	got, err := Between(links, []string{"s"}, []string{"n", "t", "x"}, oneWay)
	must(t, err)
	if len(got) != 2 || got[0] != (State{links[0], oneWay}) || got[1] != (State{links[2], Fault{LoseFrom: true}}) {
		t.Errorf("got %v", got)
	}
	if _, err := Between(links, []string{"s"}, []string{"m"}, oneWay); err == nil || !strings.Contains(err.Error(), "between s and m") {
		t.Errorf("got %v of what is not linked", err)
	}
	for f, want := range map[Fault]string{
		{}: "passes", {Cut: true}: "cut", {LoseTo: true, LoseFrom: true}: "silent", oneWay: "loses what is sent",
		{LoseFrom: true, Delay: time.Second}: "loses what comes back, delays 1s",
	} {
		if f.String() != want {
			t.Errorf("got %q, want %q", f, want)
		}
	}
}
