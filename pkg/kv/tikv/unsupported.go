//go:build darwin && !cgo

package tikv

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/catena-im/catena/pkg/kv"
)

// errCgo: a library of PD's client reads the machine's memory through cgo on macOS.
var errCgo = errors.New("tikv: this program was built without cgo, which the driver needs on macOS; install the command line tools (xcode-select --install) and build again")

// Store cannot be had in this build; New says why.
type Store struct{ kv.Store }

// New answers with what to do.
func New(Config) (*Store, error) { return nil, errCgo }

// Time is never reached.
func (*Store) Time(context.Context) (time.Time, error) { return time.Time{}, errCgo }

// Run is never reached.
func (*Store) Run(context.Context, func() bool) error { return errCgo }

// Split is never reached.
func (*Store) Split(context.Context, [][]byte) error { return errCgo }

// Describe is never reached.
func (*Store) Describe(chan<- *prometheus.Desc) {}

// Collect is never reached.
func (*Store) Collect(chan<- prometheus.Metric) {}
