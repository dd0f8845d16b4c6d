package embed

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

const (
	watchEvery  = time.Second
	maxPause    = 15 * time.Second // between attempts to go on
	sayEvery    = time.Minute
	roomToGoOn  = 16 << 20 // bytes that must be free, so that the next write does not fail at once
	healthWrite = "write error"
)

// watch starts the server again after a stream failed to write, above all on a full disk: the server does not write to
// that stream again in its life, and its publishers get no answer. It waits until the disk takes writes. Clients
// reconnect by themselves; what was acknowledged is there, what was not is sent again.
func (s *Server) watch() {
	defer close(s.done)
	var said time.Time
	for pause := watchEvery; s.sleep(pause); {
		why := writeError(s.current())
		if why == "" {
			pause = watchEvery
			continue
		}
		err := s.again()
		if err == nil {
			s.setFault(nil)
			s.log.Warn("nats server was started again because it could not write", "folder", s.opts.StoreDir, "err", why)
			said = time.Time{}
			continue
		}
		err = fmt.Errorf("%s: %w", why, err)
		s.setFault(err)
		pause = min(2*pause, maxPause)
		if said.IsZero() || time.Since(said) >= sayEvery {
			said = time.Now()
			s.log.Error("nats server cannot write", "folder", s.opts.StoreDir, "err", err)
		}
	}
}

// Fault says why the server takes no messages now: its folder cannot be written. It goes on by itself; nil then.
func (s *Server) Fault() error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.fault
}

func (s *Server) setFault(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = err
}

// sleep waits d, and answers false when the server is to stop.
func (s *Server) sleep(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-s.stop:
		return false
	}
}

// writeError says why a stream does not take messages any more, empty when all do. A server that could not be started
// again counts as one.
func writeError(n *server.Server) string {
	if !n.Running() {
		return "the server is down after a " + healthWrite
	}
	for _, e := range n.Healthz(&server.HealthzOptions{Details: true}).Errors {
		if strings.Contains(e.Error, healthWrite) {
			return e.Error
		}
	}
	return ""
}

// again starts the server again if the disk has room.
func (s *Server) again() error {
	if err := probe(s.opts.StoreDir); err != nil {
		return err
	}
	s.end()
	return s.start()
}

// end ends the server. One that could not write counts the message that it failed to write as one that it has lost,
// where the file of a stream was empty until then, and would give its sequence to nobody: readers would wait for it for
// ever. What such a server notes of its streams is thrown away; the next one reads the streams themselves.
func (s *Server) end() {
	n := s.current()
	why := writeError(n)
	halt(n)
	if why == "" {
		return
	}
	notes, err := fs.Glob(os.DirFS(s.opts.StoreDir), "jetstream/*/streams/*/msgs/index.db")
	for _, note := range notes {
		err = errors.Join(err, os.Remove(filepath.Join(s.opts.StoreDir, note)))
	}
	if err != nil {
		s.log.Warn("notes of the nats server not removed; after a full disk a partition may stand still", "err", err)
	}
}

// probe writes a file as large as is needed to go on and removes it.
func probe(dir string) error {
	f, err := os.CreateTemp(dir, "room-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if _, err := f.Write(make([]byte, roomToGoOn)); err != nil {
		return err
	}
	return f.Sync()
}
