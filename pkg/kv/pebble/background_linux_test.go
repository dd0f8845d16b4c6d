package pebble

import (
	"context"
	"os"
	"runtime"
	"syscall"
	"testing"

	pdb "github.com/cockroachdb/pebble/v2"

	"github.com/catena-im/catena/pkg/kv"
)

// nice is the nice level of a thread.
func nice(t *testing.T, thread int) int {
	t.Helper()
	prio, err := syscall.Getpriority(syscall.PRIO_PROCESS, thread)
	if err != nil {
		t.Fatal(err)
	}
	return 20 - prio
}

// inThread runs f on a goroutine with a thread of its own, which is not the first.
func inThread(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if syscall.Gettid() == os.Getpid() {
			inThread(f)
			return
		}
		f()
	}()
	<-done
}

func TestStepBackEndsWithItsGoroutine(t *testing.T) {
	usual := nice(t, os.Getpid())
	inThread(func() {
		stepBack()
		stepBack() // a compaction makes several tables
		if got := nice(t, syscall.Gettid()); got != min(usual+behind, 19) {
			t.Errorf("nice level %d, want %d more than %d", got, behind, usual)
		}
	})
	for range 100 {
		inThread(func() {
			if got := nice(t, syscall.Gettid()); got != usual {
				t.Errorf("nice level %d of another goroutine, want %d", got, usual)
			}
		})
	}
}

// What was not flushed is flushed when the folder is opened again. Whoever opens it must not stay behind for that.
func TestOpenDoesNotStayBehind(t *testing.T) {
	usual := nice(t, os.Getpid())
	flushed := false
	cfg := Config{Dir: t.TempDir(), tune: func(o *pdb.Options) {
		o.EventListener.TableCreated = func(pdb.TableCreateInfo) { flushed = true }
	}}
	for range 2 {
		inThread(func() {
			s, err := New(cfg)
			if err != nil {
				t.Error(err)
				return
			}
			b := &kv.Batch{Fence: []byte("f"), Next: []byte("1")}
			b.Put([]byte("k"), []byte("v"))
			_ = s.Commit(context.Background(), b) // fenced, the second time
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			if got := nice(t, syscall.Gettid()); got != usual {
				t.Errorf("nice level %d of the goroutine that opened the folder, want %d", got, usual)
			}
		})
	}
	if !flushed {
		t.Error("no table was made: the test shows nothing")
	}
}
