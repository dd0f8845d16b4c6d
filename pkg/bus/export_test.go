package bus

import "time"

// SetPatience makes b go to another server after d without an answer.
func (b *Bus) SetPatience(d time.Duration) {
	b.quiet.mu.Lock()
	defer b.quiet.mu.Unlock()
	b.quiet.patience = d
}

// Server is the URL of the server that b is connected to.
func (b *Bus) Server() string { return b.nc.ConnectedUrl() }
