package pebble

import (
	"context"
	"errors"
	"fmt"
	"time"

	pdb "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/objstorage/objstorageprovider"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// defaultStage is how many bytes a stage takes before it is written. While one is being written the next may grow to twice
// that, then commits wait; it is written in its turn, so two stages take four times that at the most.
const defaultStage = 64 << 20

// stageView is a stage as it was at some time.
type stageView struct {
	*stage
	seen content
}

// stages are what Pebble does not have yet, or is being given, the newest first.
func (s *Store) stages() (all []stageView) {
	for _, st := range []*stage{s.fresh, s.draining} {
		if st != nil && st.count > 0 {
			all = append(all, stageView{st, st.content})
		}
	}
	return all
}

// lockRoom takes the lock of a stage that has room. It has a full one written; while another is still being written it lets
// the stage grow to twice its size, and then waits.
func (s *Store) lockRoom(ctx context.Context) error {
	full := s.disk.fullness()
	for {
		s.staging.Lock()
		s.filled.Store(int64(s.fresh.bytes))
		if s.fresh.bytes < s.stageBytes {
			return nil
		}
		select {
		case s.drains <- struct{}{}:
			s.startDrain()
			return nil
		default:
		}
		if s.fresh.bytes < 2*s.stageBytes {
			return nil
		}
		swapped := s.swapped
		s.staging.Unlock()
		select {
		case <-swapped:
		case s.drains <- struct{}{}:
			s.startDrain()
		case <-ctx.Done():
			return ctx.Err()
		case <-full:
			return errFull
		case <-s.disk.failed:
			return s.broken()
		}
	}
}

// startDrain drains in a goroutine of its own, which Close joins. The caller has the place of drains.
func (s *Store) startDrain() {
	s.ops.Add(1)
	go func() {
		defer s.ops.Done()
		defer func() { <-s.drains }()
		s.drain()
	}()
}

// muchToDrain is how many bytes of a stage are worth a thread of their own, behind the others: to order them takes a
// processor some time.
const muchToDrain = 1 << 20

// drainNow takes the place of drains, waits until it is free, and drains. The caller's goroutine ends soon, as for drain.
func (s *Store) drainNow() {
	s.drains <- struct{}{}
	s.drain()
	<-s.drains
}

// drain writes everything that was committed. The caller holds the place of drains, and its goroutine ends soon.
func (s *Store) drain() {
	s.staging.Lock()
	full := s.fresh
	s.draining, s.fresh = full, newStage(full)
	close(s.swapped)
	s.swapped = make(chan struct{})
	s.filled.Store(0)
	s.staging.Unlock()
	if full.bytes >= muchToDrain {
		stepBack()
	}
	if err := s.write(full); err != nil {
		s.disk.fail(err)
	}
	s.staging.Lock()
	s.draining = nil
	s.staging.Unlock()
}

// defaultTable is how many bytes of a stage become a table of their own. Through Pebble's log and memtables they would be
// written twice, and the log's part at one go, which keeps the fsyncs of others waiting. Of smaller stages tables would be
// many.
const defaultTable = 8 << 20

// write gives a stage to Pebble, as one batch or as one table, so that a crash leaves all of its commits or none. The caller
// holds the place of drains, or nobody else has the store any more.
func (s *Store) write(st *stage) error {
	large := st.bytes >= s.tableBytes
	if large || time.Since(s.looked) >= lookEvery {
		s.look()
	}
	if st.count == 0 {
		return nil
	}
	s.awaitCompactions()
	p := newPace(s.ease)
	all := st.newest(p)
	if large {
		err := s.writeTable(st, all, p)
		if err == nil || !s.disk.alive() {
			return err
		}
		s.log.Debug("store: a table is not taken in, and written as a batch", "err", err)
	}
	if err := s.writeBatch(st, all, p); err != nil {
		return fmt.Errorf("write %d entries: %w", len(all), err)
	}
	return nil
}

// ease is that of writing a stage. It presses while somebody waits for it, and the more the fuller the next one is.
func (s *Store) ease() int {
	if s.sync || s.waiters.Load() > 0 || !s.disk.isPatient() {
		return 0
	}
	return easeAt(int(s.filled.Load()), s.stageBytes/2, s.stageBytes)
}

// lookEvery is how often it is looked at what Pebble has to do, at the least. That takes locks.
const lookEvery = 100 * time.Millisecond

// look looks at what Pebble has to do. Flushes press when memtables queue up, compactions from when Pebble begins with
// them, at half of the sub-levels that they are tuned to, and more with each further one.
func (s *Store) look() {
	m := s.db.Metrics()
	s.looked, s.sublevels = time.Now(), int(m.Levels[0].Sublevels)
	most := s.options.L0CompactionThreshold
	ease := easeAt(s.sublevels, most/2, most)
	if m.MemTable.Count > 2 {
		ease = 0
	}
	s.disk.relaxed.Store(int32(ease))
}

const (
	mostSublevels = 40               // of level 0, before a stage waits for compactions; a read visits each
	mostPatience  = 40 * time.Second // of a stage that waits
)

// awaitCompactions waits while level 0 is deep. Pebble would let batches wait, not tables, and without end: a table that a
// compaction could not read is left alone for half a minute or more, and no compaction is looked for afterwards before
// something is written. Neither Close nor a failure of the disk could call back who waits there.
func (s *Store) awaitCompactions() {
	if s.sublevels < s.mostSublevels {
		return
	}
	s.log.Info("store: what is committed waits for compactions", "sublevels", s.sublevels)
	end := time.After(s.patience)
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for s.sublevels >= s.mostSublevels {
		select {
		case <-tick.C:
			s.look()
		case <-end:
			s.log.Warn("store: compactions make no progress, and reads get slower: look for failed reads in this log, and at the disk", "sublevels", s.sublevels)
			return
		case <-s.disk.hurry:
			return
		case <-s.disk.failed:
			return
		}
	}
}

func (s *Store) writeBatch(st *stage, all []keyed, p *pace) error {
	size := 0
	for _, e := range all {
		size += int(e.key.length) + int(st.entry(e.n).value.length) + 16
	}
	b := s.db.NewBatchWithSize(size)
	err := st.each(all, p,
		func(key []byte) error { return b.Delete(key, nil) },
		func(key, value []byte) error { return b.Set(key, value, nil) })
	if err == nil {
		err = s.db.Apply(b, pdb.NoSync)
	}
	return errors.Join(err, b.Close())
}

// stageTable is the name of a table until Pebble has it under its own. A crash may leave both names; a file that is made
// under this one takes the place of the old.
const stageTable = "stage.sst"

// writeTable writes what Pebble's log still has to write first: a table stays from when it is taken in, and after a crash
// commits before it must not be missing.
func (s *Store) writeTable(st *stage, all []keyed, p *pace) error {
	name := s.disk.PathJoin(s.dir, stageTable)
	f, err := s.disk.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	f = vfs.NewSyncingFile(f, vfs.SyncingFileOptions{BytesPerSync: s.options.BytesPerSync})
	w := sstable.NewWriter(objstorageprovider.NewFileWritable(f), s.options.MakeWriterOptions(0, s.db.TableFormat()))
	err = st.each(all, p, w.Delete, w.Set)
	if err = errors.Join(err, w.Close()); err != nil {
		return err
	}
	if err := s.db.LogData(nil, pdb.Sync); err != nil {
		return err
	}
	return s.db.Ingest(context.Background(), []string{name})
}
