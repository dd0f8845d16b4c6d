//go:build !darwin || cgo

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// tso hands out timestamps that never go back, over restarts and steps of the clock: a bound is on disk before any
// timestamp up to it is given out.
type tso struct {
	path string
	now  func() time.Time

	mu       sync.Mutex // guards the fields below
	physical int64      // ms
	logical  int64
	bound    int64 // above any physical that was given out
}

const (
	tsoAhead   = 3000    // ms that the bound is moved on at a time
	tsoLogical = 1 << 18 // timestamps in a physical one
)

func newTSO(path string) (*tso, error) {
	t := &tso{path: path, now: time.Now}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return t, nil
	}
	if err != nil {
		return nil, err
	}
	if t.bound, err = strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	t.physical = t.bound
	return t, nil
}

// next gives out n consecutive timestamps and returns the last.
func (t *tso) next(n int64) (physical, logical int64, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n < 1 || n >= tsoLogical {
		return 0, 0, fmt.Errorf("%d timestamps at once: 1 to %d", n, tsoLogical-1)
	}
	if now := t.now().UnixMilli(); now > t.physical {
		t.physical, t.logical = now, 0
	}
	if t.logical+n >= tsoLogical {
		t.physical, t.logical = t.physical+1, 0
	}
	if t.physical >= t.bound {
		bound := t.physical + tsoAhead
		if err := writeFile(t.path, []byte(strconv.FormatInt(bound, 10))); err != nil {
			return 0, 0, err
		}
		t.bound = bound
	}
	t.logical += n
	return t.physical, t.logical, nil
}
