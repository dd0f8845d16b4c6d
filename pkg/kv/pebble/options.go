package pebble

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"

	pdb "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
)

// memTable is the size of a memtable in bytes. It takes stages that are too small for a table of their own.
const memTable = 16 << 20

// block is the size of a table's blocks in bytes. Who writes a table hands each over to another goroutine and waits until
// it is taken, which costs threads that have stepped back as much as making a small block does.
const block = 16 << 10

// options are the settings of Pebble for chains: many small keys, batches of hundreds, reads of the newest.
func options(cfg Config, d *disk) *pdb.Options {
	log := &logger{log: cfg.Log, disk: d}
	o := &pdb.Options{
		FS:                          d,
		Logger:                      log,
		EventListener:               events(log),
		FormatMajorVersion:          pdb.FormatValueSeparation,
		CacheSize:                   cfg.CacheBytes + 2*memTable, // Pebble takes memtables off its cache
		MemTableSize:                memTable,
		MemTableStopWritesThreshold: 8,
		L0CompactionThreshold:       16,      // twice the sub-levels that a compaction takes, and a read visits, at the least
		L0StopWritesThreshold:       1 << 20, // none; see Store.awaitCompactions
		LBaseMaxBytes:               64 << 20,
		WALBytesPerSync:             1 << 20, // so that a Sync after many unsynced commits finds little to do
		CompactionConcurrencyRange:  func() (lower, upper int) { return 1, max(1, runtime.GOMAXPROCS(0)/2) },
	}
	o.Levels[0].FilterPolicy = bloom.FilterPolicy(10) // the other levels take after it
	o.Levels[0].BlockSize = block
	if cfg.tune != nil {
		cfg.tune(o)
	}
	o.EnsureDefaults()
	return o
}

// events tells what an operator should know, and the rest at debug.
func events(l *logger) *pdb.EventListener {
	own := pdb.EventListener{
		BackgroundError: func(err error) { l.warn("store: flush or compaction failed, and is tried again", err) },
		DataCorruption:  func(i pdb.DataCorruptionInfo) { l.warn("store: corrupt file "+i.Path, i.Details) },
		WriteStallBegin: func(i pdb.WriteStallBeginInfo) {
			l.disk.relaxed.Store(0)
			l.log.Info("store: commits wait for flushes: " + i.Reason)
		},
		WriteStallEnd: func() { l.log.Info("store: commits go on") },
	}
	if l.log.Enabled(context.Background(), slog.LevelDebug) {
		all := pdb.MakeLoggingEventListener(l)
		all.BackgroundError, all.DataCorruption, all.WriteStallBegin, all.WriteStallEnd = nil, nil, nil, nil
		own = pdb.TeeEventListener(own, all)
	}
	return &own
}

// logger takes what Pebble writes.
type logger struct {
	log  *slog.Logger
	disk *disk
}

func (l *logger) Infof(format string, args ...any) {
	if l.log.Enabled(context.Background(), slog.LevelDebug) {
		l.log.Debug("store: " + fmt.Sprintf(format, args...))
	}
}

func (l *logger) Errorf(format string, args ...any) {
	l.warn("store", fmt.Errorf(format, args...))
}

// warn is silent once the disk failed: what follows from that is no news. An error's text is taken, since the errors of
// Pebble print their stacks.
func (l *logger) warn(what string, err error) {
	if l.disk.alive() {
		l.log.Warn(what, "err", err.Error())
	}
}

// Fatalf returns. Pebble must not end the process, which serves more than this store; freezing the folder keeps
// whatever it does next from doing harm. Its callers hand an error on, or read on and are answered by Store with
// kv.ErrUnavailable.
func (l *logger) Fatalf(format string, args ...any) {
	l.disk.fail(fmt.Errorf(format, args...))
}
