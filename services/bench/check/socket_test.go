package check

import (
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

// wired is a device's socket and the far end of its connection.
func wired(t *testing.T) (*socket, net.Conn, net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := &socket{}
	if s.current() != nil {
		t.Error("a socket that never dialled has a connection")
	}
	near, err := s.dial(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close(); far.Close() })
	return s, near, far
}

func TestCutEndsBothSides(t *testing.T) {
	s, near, far := wired(t)
	s.current().cut()
	if _, err := near.Read(make([]byte, 1)); err == nil {
		t.Error("the near side still reads")
	}
	if _, err := far.Read(make([]byte, 1)); err == nil {
		t.Error("the far side still reads")
	}
}

func TestTornWriteStopsInItsMiddle(t *testing.T) {
	s, near, far := wired(t)
	if _, err := near.Write([]byte("whole ")); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len("whole "))
	if _, err := io.ReadFull(far, got); err != nil {
		t.Fatal(err)
	}
	s.current().tear()
	if n, err := near.Write([]byte("abcdef")); n != 3 || !errors.Is(err, errTorn) {
		t.Errorf("the torn write returns %d, %v, want 3 and %v", n, err, errTorn)
	}
	if rest, _ := io.ReadAll(far); len(rest) > 3 {
		t.Errorf("the far side got %q of the torn write", rest)
	}
}

func TestStalledReaderWaitsUntilItsConnectionEnds(t *testing.T) {
	s, near, far := wired(t)
	s.current().stall(time.Hour)
	if _, err := far.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	read := make(chan error, 1)
	go func() {
		_, err := near.Read(make([]byte, 1))
		read <- err
	}()
	select {
	case err := <-read:
		t.Errorf("the stalled read returns %v", err)
	default:
	}
	near.Close()
	<-read
}
