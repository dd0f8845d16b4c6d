// Package pebble is the driver of package kv for one process, over Pebble. Commits are atomic and in order; after a
// crash a prefix of them is there, each with its fence, and it reaches at least to the last Sync that answered nil
// (with Config.SyncCommits to the last Commit that did). What comes after waits in memory: in two stages, 256 MiB at
// the most, and half as much again while one is handed to Pebble. While the disk is full, commits and Sync answer
// kv.ErrUnavailable and reads go on; once there is room the store goes on by itself and nothing is lost. Any other failed
// write, a failed fsync above all, makes the store answer kv.ErrUnavailable to everything: what is on the disk is then as
// after a power loss, and Close and New bring it back, in the same process too. No error of the disk ends the process.
package pebble

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	pdb "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/catena-im/catena/pkg/kv"
)

// ErrLocked: another store, in this process or another, has the folder open.
var ErrLocked = errors.New("pebble: folder is in use")

// slowDisk is how long one operation of the disk may take before it is logged.
const slowDisk = 5 * time.Second

// Config says where and how a Store keeps its data. Only Dir is required.
type Config struct {
	Dir         string       // folder, made when missing; only one Store may have it open
	FS          vfs.FS       // file system of Dir; nil: the operating system's
	SyncCommits bool         // Commit waits for the disk; else see kv.Store.Sync
	CacheBytes  int64        // block cache, beside the memtables; 0: 64 MiB
	Log         *slog.Logger // nil: silent

	stageBytes int
	tableBytes int
	tune       func(*pdb.Options)
	poll       time.Duration
	sublevels  int
	patience   time.Duration
}

func (c *Config) validate() error {
	if c.Dir == "" {
		return errors.New("dir is empty: name the folder of the store")
	}
	if c.CacheBytes < 0 {
		return fmt.Errorf("cache_bytes is %d: at least 0", c.CacheBytes)
	}
	if c.CacheBytes == 0 {
		c.CacheBytes = 64 << 20
	}
	if c.stageBytes == 0 {
		c.stageBytes = defaultStage
	}
	if c.tableBytes == 0 {
		c.tableBytes = defaultTable
	}
	if c.sublevels == 0 {
		c.sublevels = mostSublevels
	}
	if c.patience == 0 {
		c.patience = mostPatience
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return nil
}

// Store is a kv.Store in one folder.
type Store struct {
	dir     string
	log     *slog.Logger
	sync    bool
	db      *pdb.DB
	options *pdb.Options // of db
	disk    *disk
	after   []io.Closer // what outlives db, in the order of closing

	turns  [64]chan struct{} // one place each, held while a fence is compared and replaced; by hash of the fence
	syncs  chan struct{}     // places of the Syncs in progress, and of the Commits that wait for the disk
	drains chan struct{}     // one place, held while a stage is written

	looked    time.Time // when what Pebble has to do was looked at; of the holder of drains, as is
	sublevels int       // how many level 0 had then

	commits       atomic.Uint64 // so far
	filled        atomic.Int64  // bytes of fresh
	waiters       atomic.Int32  // calls of Sync in progress
	stageBytes    int
	tableBytes    int
	mostSublevels int
	patience      time.Duration

	staging  sync.RWMutex  // guards the fields below, and what is in fresh
	fresh    *stage        // takes the commits
	swapped  chan struct{} // closed, and made anew, when an empty stage takes fresh's place
	draining *stage        // is being written; nil: none is

	mu     sync.Mutex // guards the fields below, and the references of snapshots
	closed bool
	ops    sync.WaitGroup // calls into db; none is added once closed
}

var _ kv.Store = (*Store)(nil)

// New opens the store in cfg.Dir, recovering what a crash left. It answers ErrLocked when the folder is in use and
// kv.ErrUnavailable when it cannot be written.
func New(cfg Config) (*Store, error) {
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("pebble: %w", err)
	}
	s := &Store{log: cfg.Log, sync: cfg.SyncCommits, syncs: make(chan struct{}, 64),
		drains: make(chan struct{}, 1), fresh: new(stage), swapped: make(chan struct{}), stageBytes: cfg.stageBytes,
		tableBytes: cfg.tableBytes, mostSublevels: cfg.sublevels, patience: cfg.patience}
	for i := range s.turns {
		s.turns[i] = make(chan struct{}, 1)
	}
	if err := s.open(cfg); err != nil {
		return nil, errors.Join(err, s.closeFolder())
	}
	return s, nil
}

func (s *Store) open(cfg Config) error {
	fsys, lock, err := s.lockFolder(cfg)
	if err != nil {
		return err
	}
	s.disk = newDisk(fsys, s.dir, s.log)
	if cfg.poll != 0 {
		s.disk.poll = cfg.poll
	}
	s.options = options(cfg, s.disk)
	s.options.Lock = lock
	s.db, err = pdb.Open(s.dir, s.options)
	if cause := s.disk.failure(); cause != nil {
		err = fmt.Errorf("%w: %w", kv.ErrUnavailable, cause)
	}
	if err != nil {
		if s.db != nil {
			_ = s.db.Close() // nothing of it reaches the folder, and the cause is known
		}
		return fmt.Errorf("open folder %s: %w", s.dir, err)
	}
	_ = s.disk.Remove(s.disk.PathJoin(s.dir, stageTable)) // a crash may have left one
	s.disk.bePatient()
	return nil
}

// lockFolder makes the folder and locks it.
func (s *Store) lockFolder(cfg Config) (vfs.FS, *pdb.Lock, error) {
	fsys := cfg.FS
	if s.dir = cfg.Dir; fsys == nil {
		checked, closer := vfs.WithDiskHealthChecks(vfs.Default, slowDisk, nil, func(i vfs.DiskSlowInfo) {
			s.log.Warn("store: slow disk: " + i.String())
		})
		fsys, s.after = checked, append(s.after, closer)
	}
	if err := fsys.MkdirAll(s.dir, 0o755); err != nil {
		return nil, nil, fmt.Errorf("%w: make folder: %w", kv.ErrUnavailable, err)
	}
	if cfg.FS == nil {
		if err := s.resolveDir(); err != nil {
			return nil, nil, fmt.Errorf("%w: find folder: %w", kv.ErrUnavailable, err)
		}
	}
	lock, err := pdb.LockDirectory(s.dir, fsys)
	switch {
	case err == nil:
		s.after = append([]io.Closer{lock}, s.after...)
		return fsys, lock, nil
	case heldElsewhere(err):
		return nil, nil, fmt.Errorf("%w: %s: stop the process that has it open, or choose another folder (%w)",
			ErrLocked, s.dir, err)
	default:
		return nil, nil, fmt.Errorf("%w: lock folder %s: %w", kv.ErrUnavailable, s.dir, err)
	}
}

// resolveDir gives the folder one name: within a process the lock goes by name.
func (s *Store) resolveDir() error {
	dir, err := filepath.EvalSymlinks(s.dir)
	if err != nil {
		return err
	}
	s.dir, err = filepath.Abs(dir)
	return err
}

// heldElsewhere tells a held lock from one that cannot be taken. Pebble has no error for a lock held by this process.
func heldElsewhere(err error) bool {
	var path *fs.PathError
	if errors.As(err, &path) {
		return false // the lock file could not be made
	}
	var errno syscall.Errno
	return !errors.As(err, &errno) || errno == syscall.EAGAIN || errno == syscall.EACCES
}

// Failed is closed when a write failed for good: all that helps is Close and New.
func (s *Store) Failed() <-chan struct{} { return s.disk.failed }

// Close waits for the calls in progress and closes the store. It answers kv.ErrUnavailable when commits that no Sync
// confirmed could not be written, and an error when snapshots were not released. The store is closed in any case.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()

	s.disk.stopWaiting()
	s.ops.Wait()
	var err error
	if s.disk.alive() {
		if err = s.write(s.fresh); err != nil { // nobody else has it any more
			err = fmt.Errorf("%w: %w", kv.ErrUnavailable, err)
		}
	}
	err = errors.Join(err, s.db.Close())
	if cause := s.disk.failure(); cause != nil {
		err = fmt.Errorf("%w: %w", kv.ErrUnavailable, cause)
	}
	if err = errors.Join(err, s.closeFolder()); err != nil {
		return fmt.Errorf("close folder %s: %w", s.dir, err)
	}
	return nil
}

func (s *Store) closeFolder() error {
	var errs []error
	for _, c := range s.after {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// begin enters a call into the database; a nil error owes an s.ops.Done.
func (s *Store) begin(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return fmt.Errorf("%w: closed", kv.ErrUnavailable)
	}
	if err := s.broken(); err != nil {
		return err
	}
	s.ops.Add(1)
	return nil
}

// broken answers kv.ErrUnavailable once a write failed for good.
func (s *Store) broken() error {
	if cause := s.disk.failure(); cause != nil {
		return fmt.Errorf("%w until it is opened again: %w", kv.ErrUnavailable, cause)
	}
	return nil
}
