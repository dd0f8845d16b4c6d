package pebble

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// disk is the file system that Pebble is given. It hides failed writes, since Pebble answers most by ending the process.
// A write that finds the disk full waits for room. Any other failure freezes the folder as a power loss would: nothing
// reaches it afterwards. Whoever writes then waits for the store to be closed, and goes on to its end in memory, not
// knowing.
//
// What reaches the folder is sound for recovery: a change that depends on a lost one is started after it and so is lost
// too.
type disk struct {
	vfs.FS // the folder's; what only reads goes straight to it
	dir    string
	log    *slog.Logger
	poll   time.Duration // until a write that found the disk full tries again

	failed  chan struct{} // closed by the first failure
	hurry   chan struct{} // closed when nothing may wait any longer
	relaxed atomic.Int32  // the ease of flushes and compactions, by what there is to do

	mu      sync.Mutex    // guards the fields below
	patient bool          // writes may wait; false while Pebble opens and closes
	waiting int           // writes that wait for room
	full    chan struct{} // closed while there are such
	cause   error         // the first failure
	lost    *vfs.MemFS    // what was created after it
}

var _ vfs.FS = (*disk)(nil)

func newDisk(fsys vfs.FS, dir string, log *slog.Logger) *disk {
	d := &disk{
		FS: fsys, dir: dir, log: log, poll: 100 * time.Millisecond,
		failed: make(chan struct{}), hurry: make(chan struct{}), full: make(chan struct{}),
	}
	d.relaxed.Store(mostEase)
	return d
}

// bePatient lets writes wait for room from now on.
func (d *disk) bePatient() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.patient = true
}

func (d *disk) isPatient() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.patient
}

// ease is that of flushes and compactions.
func (d *disk) ease() int {
	if !d.isPatient() {
		return 0
	}
	return int(d.relaxed.Load())
}

// stopWaiting makes writes fail that find no room, so that Pebble can be closed. Called once.
func (d *disk) stopWaiting() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.patient = false
	close(d.hurry)
}

// fullness is closed while the disk is full.
func (d *disk) fullness() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.full
}

// failure is the first failure, nil before it.
func (d *disk) failure() error {
	if d.alive() {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.cause
}

func (d *disk) alive() bool {
	select {
	case <-d.failed:
		return false
	default:
		return true
	}
}

// fail freezes the folder.
func (d *disk) fail(cause error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.cause != nil {
		return
	}
	d.cause, d.lost = cause, vfs.NewMem()
	if err := d.lost.MkdirAll(d.dir, 0o755); err != nil {
		panic(err) // a fresh file system in memory
	}
	close(d.failed)
}

// once makes a change that must not be tried again, such as a sync: after a failed one the kernel may have dropped the
// data and answer the next with success. It reports whether the change was made.
func (d *disk) once(op, name string, change func() error) bool {
	if d.alive() {
		err := change()
		if err == nil {
			return true
		}
		d.fail(named(op, name, err))
	}
	d.park()
	return false
}

// insist makes a change, waiting for room where there is none. It reports whether the change was made.
func (d *disk) insist(op, name string, change func() error) bool {
	if d.alive() {
		err := change()
		if err == nil || noRoom(err) && d.awaitRoom(err, change) {
			return true
		}
		d.fail(named(op, name, err))
	}
	d.park()
	return false
}

// awaitRoom tries a change that found the disk full until it is made.
func (d *disk) awaitRoom(err error, change func() error) bool {
	if !d.startWait(err) {
		return false
	}
	for noRoom(err) && d.pause() {
		err = change()
	}
	if err == nil {
		d.stopWait()
	}
	return err == nil // else the caller lets the disk fail, and it stays full
}

// park waits until Pebble is being closed: if it went on, it would do so in memory without end.
func (d *disk) park() {
	if d.isPatient() {
		<-d.hurry
	}
}

// startWait counts a write that waits for room; false: it may not.
func (d *disk) startWait(cause error) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.patient {
		return false
	}
	if d.waiting++; d.waiting == 1 {
		close(d.full)
		d.log.Warn("disk full: commits are refused until there is room", "folder", d.dir, "err", cause)
	}
	return true
}

func (d *disk) stopWait() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.waiting--; d.waiting == 0 {
		d.full = make(chan struct{})
		d.log.Info("the disk has room again", "folder", d.dir)
	}
}

// pause waits before the next try; false: there is none.
func (d *disk) pause() bool {
	t := time.NewTimer(d.poll)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-d.failed:
		return false
	case <-d.hurry:
		return false
	}
}

func noRoom(err error) bool {
	return vfs.IsNoSpaceError(err) || errors.Is(err, syscall.EDQUOT)
}

// named says what err was about if it does not say so itself.
func named(op, name string, err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return err
	}
	return fmt.Errorf("%s %s: %w", op, name, err)
}

// Create syncs the folder after a manifest, whose name Pebble relies on before it syncs the folder itself: a power loss
// must not keep the marker that names it and lose it. Whoever makes a table flushes or compacts, on a goroutine of its own
// for which nobody waits, and steps back.
func (d *disk) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	background := strings.HasSuffix(name, ".sst") && category != vfs.WriteCategoryUnspecified // unspecified: a copy
	if background {
		stepBack()
	}
	f, err := d.create("create", name, func() (vfs.File, error) { return d.FS.Create(name, category) })
	if f, ok := f.(*file); ok && background {
		f.pace = newPace(d.ease)
	}
	if err == nil && strings.HasPrefix(d.PathBase(name), "MANIFEST-") {
		d.once("sync", d.dir, d.syncDir)
	}
	return f, err
}

func (d *disk) syncDir() error {
	dir, err := d.FS.OpenDir(d.dir)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func (d *disk) OpenReadWrite(
	name string, category vfs.DiskWriteCategory, opts ...vfs.OpenOption,
) (vfs.File, error) {
	return d.create("open", name,
		func() (vfs.File, error) { return d.FS.OpenReadWrite(name, category, opts...) })
}

func (d *disk) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return d.create("reuse", newname,
		func() (vfs.File, error) { return d.FS.ReuseForWrite(oldname, newname, category) })
}

func (d *disk) create(op, name string, open func() (vfs.File, error)) (vfs.File, error) {
	var f vfs.File
	made := d.insist(op, name, func() (err error) {
		f, err = open()
		return err
	})
	if !made {
		return d.lost.Create(name, vfs.WriteCategoryUnspecified)
	}
	return &file{File: f, disk: d, name: name, table: strings.HasSuffix(name, ".sst")}, nil
}

func (d *disk) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	if !d.alive() {
		if f, err := d.lost.Open(name, opts...); err == nil {
			return f, nil
		}
	}
	return d.FS.Open(name, opts...)
}

func (d *disk) OpenDir(name string) (vfs.File, error) {
	f, err := d.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return &file{File: f, disk: d, name: name}, nil
}

// Link reports its errors, as a file system that knows no links has them: Pebble copies then, or takes a table in no
// more.
func (d *disk) Link(oldname, newname string) (err error) {
	made := d.insist("link", newname, func() error {
		if err = d.FS.Link(oldname, newname); noRoom(err) {
			return err
		}
		return nil
	})
	if !made {
		return errLost
	}
	return err
}

func (d *disk) Rename(oldname, newname string) error {
	d.insist("rename", newname, func() error { return d.FS.Rename(oldname, newname) })
	return nil
}

func (d *disk) MkdirAll(dir string, perm os.FileMode) error {
	d.insist("mkdir", dir, func() error { return d.FS.MkdirAll(dir, perm) })
	return nil
}

// Remove reports its errors: a file that stays is harmless, and Pebble tries again when it is opened.
func (d *disk) Remove(name string) error {
	if !d.alive() {
		return nil
	}
	return d.FS.Remove(name)
}

func (d *disk) RemoveAll(name string) error {
	if !d.alive() {
		return nil
	}
	return d.FS.RemoveAll(name)
}

func (d *disk) Unwrap() vfs.FS { return d.FS }
