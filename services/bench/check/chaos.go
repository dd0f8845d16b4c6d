package check

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"
)

// The faults as they are counted.
const (
	FaultKill     = "kill"     // the server was killed and started again
	FaultCut      = "cut"      // a socket was reset
	FaultTear     = "tear"     // a socket was reset in the middle of a write
	FaultStall    = "stall"    // a reader stood still
	FaultRestart  = "restart"  // a client ended and a new one started on its store
	FaultResend   = "resend"   // a message was sent again, at once over several connections or late
	FaultConflict = "conflict" // the same with another body
	FaultOvertake = "overtake" // a message was sent before the one that it is to come after
)

const (
	disturbEvery = 600 * time.Millisecond
	maxStall     = 3 * time.Second
	killEvery    = 5 * time.Second
	maxAim       = 40 * time.Millisecond // from the burst to the kill
	crashWithin  = time.Minute           // for the server to be ready again
)

// disturbClients does to one device after the other what networks and people do, until load ends.
func (r *run) disturbClients(load context.Context, rng *rand.Rand) {
	for pause(load, jitter(rng, r.every(disturbEvery))) {
		d := r.devices[rng.IntN(len(r.devices))]
		chance := rng.IntN(100)
		if chance >= 90 {
			d.restart()
			r.journal.fault(FaultRestart)
			continue
		}
		conn := d.socket.current()
		if conn == nil {
			continue
		}
		switch {
		case chance < 40:
			conn.cut()
			r.journal.fault(FaultCut)
		case chance < 60:
			conn.tear()
			r.journal.fault(FaultTear)
		default:
			conn.stall(time.Duration(rng.Float64() * float64(r.every(maxStall))))
			r.journal.fault(FaultStall)
		}
	}
}

// kill kills the server again and again until load ends, and leaves it running. Just before, every device queues a
// burst, so that the server dies with much on its way. A server that does not come back ends the run.
func (r *run) kill(ctx, load context.Context, rng *rand.Rand) error {
	for pause(load, jitter(rng, r.every(killEvery))) {
		r.rush(load)
		pause(load, time.Duration(rng.Float64()*float64(maxAim)))
		crash, cancel := context.WithTimeout(ctx, crashWithin)
		err := r.deps.Crash(crash)
		cancel()
		if err != nil {
			return fmt.Errorf("start the server again after a kill: %w", err)
		}
		r.journal.fault(FaultKill)
	}
	return nil
}
