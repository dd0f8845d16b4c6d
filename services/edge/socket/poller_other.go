//go:build !linux

package socket

import (
	"context"
	"net"
	"time"
)

// Poller does nothing here: Go's own serves.
type Poller struct{}

// NewPoller makes a poller.
func NewPoller(_ int) (*Poller, error) { return &Poller{}, nil }

// Run waits for ctx to end.
func (*Poller) Run(ctx context.Context, _ func() time.Duration) error {
	<-ctx.Done()
	return nil
}

// Adopt returns c.
func (*Poller) Adopt(c net.Conn) net.Conn { return c }

// Receive tells r what comes on c from now on.
func (*Poller) Receive(c net.Conn, r Receiver) { go receiveAlone(c, r) }
