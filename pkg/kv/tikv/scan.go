//go:build !darwin || cgo

package tikv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/pingcap/kvproto/pkg/errorpb"
	"github.com/pingcap/kvproto/pkg/kvrpcpb"
	tikverr "github.com/tikv/client-go/v2/error"
	client "github.com/tikv/client-go/v2/tikv"
	"github.com/tikv/client-go/v2/tikvrpc"
	"github.com/tikv/client-go/v2/txnkv/txnlock"

	"github.com/catena-im/catena/pkg/kv"
)

// Rows of a page: few at first, since a caller may stop soon and values may be large, then as many as make up pageBytes.
const (
	firstPage = 64
	lastPage  = 1024
	pageBytes = 1 << 20
)

// scan reads a range page by page. Client-go's own iterators know no context and can hold a caller for 40 s.
type scan struct {
	sn         *snapshot
	start, end []byte // what is still to be read, as keys in the cluster; end "": to the last key there is
	reverse    bool
	keysOnly   bool
	cold       bool // TiKV need not keep the blocks in its cache
	rows       int  // to ask for next
}

// Scan is kv.Snapshot's. Each page is read with patience of its own.
func (sn *snapshot) Scan(caller context.Context, r kv.Range, fn func(key, value []byte) error) error {
	ctx, end, err := sn.begin(caller)
	if err != nil {
		return err
	}
	defer end()
	if r.End != nil && bytes.Compare(r.Start, r.End) >= 0 {
		return nil
	}
	if err := sn.scan(r).run(ctx, r.Limit, func(key, value []byte) error {
		if err := caller.Err(); err != nil {
			return err // ctx follows it a moment later
		}
		return fn(key, value)
	}); !errors.Is(err, kv.Stop) {
		return err
	}
	return nil
}

func (sn *snapshot) scan(r kv.Range) *scan {
	s := &scan{
		sn: sn, start: sn.store.encodeKey(r.Start), reverse: r.Reverse, keysOnly: r.KeysOnly,
		cold: r.Limit == 0 || r.Limit > lastPage, rows: firstPage,
	}
	if r.End != nil {
		s.end = sn.store.encodeKey(r.End)
	} else {
		s.end = successor([]byte(sn.store.cfg.Prefix))
	}
	if r.KeysOnly {
		s.rows = lastPage
	}
	return s
}

// successor is the first key behind all that begin with prefix, whose first byte is not 0xff.
func successor(prefix []byte) []byte {
	end := bytes.TrimRight(prefix, "\xff")
	end = bytes.Clone(end)
	end[len(end)-1]++
	return end
}

func (s *scan) run(ctx context.Context, limit int, fn func(key, value []byte) error) error {
	for left, more := limit, true; more; {
		if limit > 0 {
			s.rows = min(s.rows, left)
		}
		var page []*kvrpcpb.KvPair
		if err := s.sn.store.try(ctx, func(ctx context.Context) (err error) {
			page, more, err = s.page(ctx)
			return err
		}); err != nil {
			return fmt.Errorf("scan: %w", err)
		}
		if err := s.visit(ctx, page, fn); err != nil {
			return err
		}
		if left -= len(page); limit > 0 && left <= 0 {
			return nil
		}
		s.adapt(page)
	}
	return nil
}

// visit calls fn for the rows of a page, with slices that an append in it cannot grow into each other.
func (s *scan) visit(ctx context.Context, page []*kvrpcpb.KvPair, fn func(key, value []byte) error) error {
	prefix := len(s.sn.store.cfg.Prefix)
	for _, p := range page {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		value := slices.Clip(p.Value)
		if s.keysOnly {
			value = nil
		}
		if err := fn(slices.Clip(p.Key[prefix:]), value); err != nil {
			return err
		}
	}
	return nil
}

// adapt sizes the next page after the rows of this one.
func (s *scan) adapt(page []*kvrpcpb.KvPair) {
	size := 1
	for _, p := range page {
		size += len(p.Key) + len(p.Value)
	}
	fit := pageBytes / (size/max(1, len(page)) + 1)
	s.rows = min(max(fit, 1), 4*max(s.rows, firstPage/4), lastPage)
}

// page is one try to read the next rows, at most s.rows and of one region. On a nil error s has moved on; more is false
// when nothing is left.
func (s *scan) page(ctx context.Context) (page []*kvrpcpb.KvPair, more bool, err error) {
	if err := s.sn.fresh(); err != nil {
		return nil, false, err
	}
	for bo := backoffer(ctx); ; {
		at, err := s.locate(bo)
		if err != nil {
			return nil, false, err
		}
		answer, err := s.ask(bo, at)
		if err != nil {
			return nil, false, err
		}
		if answer == nil {
			continue // the region moved, or a lock was in the way
		}
		page, err := s.resolve(ctx, answer.Pairs)
		if err != nil {
			return nil, false, err
		}
		return page, s.advance(answer.Pairs, at), nil
	}
}

// locate finds the region that holds the next rows.
func (s *scan) locate(bo *client.Backoffer) (*client.KeyLocation, error) {
	regions := s.sn.store.client.GetRegionCache()
	if s.reverse {
		return regions.LocateEndKey(bo, s.end)
	}
	return regions.LocateKey(bo, s.start)
}

// ask requests rows from a region. It answers nil after waiting for what is in the way.
func (s *scan) ask(bo *client.Backoffer, at *client.KeyLocation) (*kvrpcpb.ScanResponse, error) {
	from, to := s.start, s.end
	if s.reverse {
		from = s.within(at)
		from, to = to, from // TiKV scans backwards from the first to the second
	} else if len(at.EndKey) > 0 && bytes.Compare(at.EndKey, to) < 0 {
		to = at.EndKey
	}
	c := s.sn.store.client
	resp, err := c.SendReq(bo, tikvrpc.NewRequest(tikvrpc.CmdScan, &kvrpcpb.ScanRequest{
		StartKey: from, EndKey: to, Reverse: s.reverse,
		Limit: uint32(max(s.rows, 1)), Version: s.sn.ts, KeyOnly: s.keysOnly,
	}, kvrpcpb.Context{NotFillCache: s.cold}), at.Region, client.ReadTimeoutMedium)
	if err != nil {
		return nil, err
	}
	moved, err := resp.GetRegionError()
	switch {
	case err != nil:
		return nil, err
	case moved != nil:
		return nil, waitForRegion(bo, moved)
	case resp.Resp == nil:
		return nil, tikverr.ErrBodyMissing
	}
	if err := c.CheckVisibility(s.sn.ts); err != nil {
		return nil, err
	}
	answer := resp.Resp.(*kvrpcpb.ScanResponse)
	if answer.Error != nil { // the rows are not complete
		return nil, s.waitForLock(bo, answer.Error)
	}
	return answer, nil
}

// within is where a reverse scan of a region ends.
func (s *scan) within(at *client.KeyLocation) []byte {
	if bytes.Compare(at.StartKey, s.start) > 0 {
		return at.StartKey
	}
	return s.start
}

// waitForRegion backs off, unless the answer told the new regions.
func waitForRegion(bo *client.Backoffer, moved *errorpb.Error) error {
	if e := moved.GetEpochNotMatch(); e != nil && len(e.CurrentRegions) > 0 {
		return nil
	}
	return bo.Backoff(client.BoRegionMiss(), errors.New(moved.String()))
}

func (s *scan) waitForLock(bo *client.Backoffer, locked *kvrpcpb.KeyError) error {
	lock, err := txnlock.ExtractLockFromKeyErr(locked)
	if err != nil {
		return err
	}
	left, err := s.sn.store.client.GetLockResolver().ResolveLocks(bo, s.sn.ts, []*txnlock.Lock{lock})
	if err != nil || left <= 0 {
		return err
	}
	return bo.BackoffWithMaxSleepTxnLockFast(int(left), errors.New("key is locked"))
}

// resolve reads the rows that were locked one by one, and leaves out those that turn out to be absent.
func (s *scan) resolve(ctx context.Context, pairs []*kvrpcpb.KvPair) ([]*kvrpcpb.KvPair, error) {
	page := make([]*kvrpcpb.KvPair, 0, len(pairs))
	for _, p := range pairs {
		if p.Error != nil {
			if len(p.Key) == 0 {
				lock, err := txnlock.ExtractLockFromKeyErr(p.Error)
				if err != nil {
					return nil, err
				}
				p.Key = lock.Key
			}
			var err error
			if p.Value, err = s.sn.get(ctx, p.Key); err != nil {
				return nil, err
			}
			if p.Value == nil {
				continue
			}
		}
		page = append(page, p)
	}
	return page, nil
}

// advance moves behind what a region answered and reports whether anything may be left.
func (s *scan) advance(pairs []*kvrpcpb.KvPair, at *client.KeyLocation) bool {
	full := len(pairs) >= max(s.rows, 1)
	switch {
	case full && s.reverse:
		s.end = pairs[len(pairs)-1].Key
	case full:
		s.start = append(bytes.Clone(pairs[len(pairs)-1].Key), 0)
	case s.reverse:
		s.end = s.within(at)
	case len(at.EndKey) == 0:
		return false
	default:
		s.start = at.EndKey
	}
	return bytes.Compare(s.start, s.end) < 0
}
