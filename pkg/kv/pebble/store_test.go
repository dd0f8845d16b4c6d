package pebble

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"

	"github.com/catena-im/catena/pkg/kv"
	"github.com/catena-im/catena/pkg/kv/kvtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t testing.TB, cfg Config) *Store {
	t.Helper()
	s, err := New(cfg)
	if err != nil {
		t.Fatalf("new: %v", err)
	}
	t.Cleanup(func() { // Pebble tells of iterators and snapshots that were left open
		if err := s.Close(); err != nil && !errors.Is(err, kv.ErrUnavailable) {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

func TestConformance(t *testing.T) {
	t.Run("disk", func(t *testing.T) {
		kvtest.Run(t, func(t *testing.T) kv.Store { return open(t, Config{Dir: t.TempDir()}) })
	})
	t.Run("memory, commits synced", func(t *testing.T) {
		kvtest.Run(t, func(t *testing.T) kv.Store {
			return open(t, Config{Dir: "store", FS: vfs.NewMem(), SyncCommits: true})
		})
	})
	for name, table := range map[string]int{"batches": 0, "tables": 1} {
		t.Run("memory, small stages, as "+name, func(t *testing.T) {
			kvtest.Run(t, func(t *testing.T) kv.Store {
				return open(t, Config{Dir: "store", FS: vfs.NewMem(), stageBytes: 200, tableBytes: table, tune: restless})
			})
		})
	}
}

func TestReopen(t *testing.T) {
	for name, synced := range map[string]bool{"commits synced": true, "commits not synced": false} {
		t.Run(name, func(t *testing.T) {
			kvtest.RunDurable(t, func(t *testing.T) (kv.Store, func(t *testing.T) kv.Store) {
				dir := t.TempDir()
				s := open(t, Config{Dir: dir, SyncCommits: synced})
				return s, func(t *testing.T) kv.Store {
					if err := s.Close(); err != nil {
						t.Fatalf("close: %v", err)
					}
					s = open(t, Config{Dir: dir, SyncCommits: synced})
					return s
				}
			})
		})
	}
}

func TestCloseKeepsWhatNoSyncConfirmed(t *testing.T) {
	dir, l := t.TempDir(), &kvtest.Log{Prefix: "log/"}
	for range 3 {
		s := open(t, Config{Dir: dir})
		l.Recover(t, s)
		l.Commit(t, s)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		l.Confirmed = l.Committed
	}
}

func TestSecondOpenerIsToldTheFolderIsInUse(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "store")
	s := open(t, Config{Dir: dir})
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{dir, dir + "/", link} {
		second, err := New(Config{Dir: name})
		if !errors.Is(err, ErrLocked) {
			t.Errorf("%s: got %v, %v, want %v", name, second, err, ErrLocked)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, Config{Dir: link})
}

func TestCloseTellsOfSnapshotsThatWereNotReleased(t *testing.T) {
	s := open(t, Config{Dir: "store", FS: vfs.NewMem()})
	sn, err := s.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err == nil {
		t.Error("close answers nil")
	}
	if _, err := sn.Get(t.Context(), []byte("k")); !errors.Is(err, kv.ErrUnavailable) {
		t.Errorf("get after close: got %v, want %v", err, kv.ErrUnavailable)
	}
	sn.Release()
	sn.Release()
}

func TestConfigNamesTheKeyThatIsWrong(t *testing.T) {
	for want, cfg := range map[string]Config{
		"pebble: dir is empty: name the folder of the store": {},
		"pebble: cache_bytes is -1: at least 0":              {Dir: "d", CacheBytes: -1},
	} {
		if _, err := New(cfg); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
