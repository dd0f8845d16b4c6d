package edge

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/catena-im/catena/pkg/im"
	imv1 "github.com/catena-im/catena/proto/im/v1"
)

const (
	maxRegistered   = 2048 // users in one SessionRequest
	registerTimeout = 2 * time.Second
	minBackoff      = 50 * time.Millisecond
	maxBackoff      = 2 * time.Second
	farewellTimeout = time.Second
)

// register keeps the owner of the user partition informed of the users with sessions here, until ctx ends. One request
// is in flight at a time; who comes and goes meanwhile is told with the next. While there is no owner it is tried again
// and again, and the sessions are served without pushes.
func (p *partition) register(ctx context.Context) {
	timer := time.NewTimer(p.edge.cfg.RenewEvery)
	defer timer.Stop()
	backoff := minBackoff
	for {
		select {
		case <-ctx.Done():
			p.farewell(ctx)
			return
		case <-p.wake:
		case <-timer.C:
		}
		err := p.update(ctx)
		if err != nil {
			p.edge.log.Debug("register users", "partition", p.number, "err", err)
		}
		if err == nil && !p.mustAnnounce() {
			backoff = minBackoff
			timer.Reset(p.edge.cfg.RenewEvery)
			continue
		}
		rest(ctx, backoff/2+rand.N(backoff))
		backoff = min(2*backoff, maxBackoff)
		p.poke()
	}
}

func (p *partition) mustAnnounce() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.announce
}

// farewell tells the owner who left at the end, if it can be told soon.
func (p *partition) farewell(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewellTimeout)
	defer cancel()
	if err := p.update(ctx); err != nil {
		p.edge.log.Debug("register users", "partition", p.number, "err", err)
	}
}

// update tells the owner what it does not know. After an error it is not known what it knows: everything goes anew.
func (p *partition) update(ctx context.Context) error {
	for _, r := range p.plan() {
		reply, err := p.request(ctx, r)
		if err == nil {
			err = p.apply(r, reply)
		}
		if err != nil {
			p.mu.Lock()
			p.announce = true
			p.mu.Unlock()
			return err
		}
	}
	return nil
}

// plan makes the requests that tell the owner what changed, or everything, or, when nothing did, that the edge lives.
func (p *partition) plan() []*imv1.SessionRequest {
	p.mu.Lock()
	defer p.mu.Unlock()
	everything := p.announce || p.lane.epoch == 0
	var add, drop []string
	for u := range p.changed {
		if p.users[u] != nil {
			add = append(add, string(u))
		} else {
			drop = append(drop, string(u))
		}
	}
	if len(add) > 0 && len(add) == len(p.users) {
		everything = true // nobody was here before, and the owner forgets an edge without users
	}
	if everything {
		add, drop = nil, nil
		for u := range p.users {
			add = append(add, string(u))
		}
	}
	clear(p.changed)
	if len(p.users)+len(drop) == 0 && (!p.announce || p.lane.epoch == 0) {
		return nil // nobody is here, and the owner, if there ever was one, knows
	}
	p.announce = false
	return p.cut(everything, add, drop)
}

// cut divides a registration into requests of bounded size. The first one replaces, with the others behind it.
func (p *partition) cut(replace bool, add, drop []string) []*imv1.SessionRequest {
	var requests []*imv1.SessionRequest
	for first := true; first || len(add)+len(drop) > 0; first = false {
		r := &imv1.SessionRequest{EdgeId: p.edge.id, Partition: uint32(p.number), Replace: replace && first}
		n := min(len(add), maxRegistered)
		r.AddUserIds, add = add[:n], add[n:]
		n = min(len(drop), maxRegistered-n)
		r.DropUserIds, drop = drop[:n], drop[n:]
		r.More = replace && len(add)+len(drop) > 0
		requests = append(requests, r)
	}
	return requests
}

func (p *partition) request(ctx context.Context, r *imv1.SessionRequest) (*imv1.SessionReply, error) {
	ctx, cancel := context.WithTimeout(ctx, registerTimeout)
	defer cancel()
	payload, err := proto.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode session request: %w", err)
	}
	data, err := p.edge.deps.Peers.Session(ctx, p.number, payload)
	if err != nil {
		return nil, fmt.Errorf("ask the owner of user partition %d: %w", p.number, err)
	}
	reply := new(imv1.SessionReply)
	if err := proto.Unmarshal(data, reply); err != nil {
		return nil, fmt.Errorf("decode session reply: %w", err)
	}
	return reply, nil
}

// apply takes the owner's reply: the heads of those who were added, and whether deliveries were missed.
func (p *partition) apply(r *imv1.SessionRequest, reply *imv1.SessionReply) error {
	if !reply.GetKnown() && !r.GetReplace() {
		return errors.New("the owner does not know this edge")
	}
	if len(reply.GetHeads()) != len(r.GetAddUserIds()) {
		return fmt.Errorf("the owner answered with %d heads for %d users", len(reply.GetHeads()), len(r.GetAddUserIds()))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, id := range r.GetAddUserIds() {
		if u := p.users[im.UserID(id)]; u != nil {
			p.advance(u, headOf(reply.GetHeads()[i]))
		}
	}
	if p.lane.replied(reply.GetEpoch(), reply.GetLaneSequence(), r.GetReplace()) {
		p.edge.metrics.lost.Inc()
		p.announce = true
	}
	return nil
}

// announced takes an encoded SessionCall: a new owner knows nobody.
func (e *Edge) announced(data []byte) {
	call := new(imv1.SessionCall)
	if err := proto.Unmarshal(data, call); err != nil {
		e.log.Error("session call", "err", err)
		return
	}
	if int(call.GetPartition()) >= len(e.partitions) {
		e.log.Error("session call of an unknown partition", "partition", call.GetPartition())
		return
	}
	e.partitions[call.GetPartition()].announceAll()
}

// deliveryLane follows the numbers that an owner gives to its batches for this edge, to notice a lost one.
type deliveryLane struct {
	epoch uint64 // of the owner; 0: none was met
	last  uint64 // last sequence that arrived
	due   uint64 // sequence that must have arrived when the owner replies the next time
}

// arrived takes the number of a batch; false: one before it is missing.
func (l *deliveryLane) arrived(epoch, sequence uint64) bool {
	if sequence == 0 || epoch < l.epoch { // without number, or a late word of a former owner
		return true
	}
	if epoch > l.epoch {
		*l = deliveryLane{epoch: epoch}
	}
	next := sequence == l.last+1
	l.last = sequence
	return next
}

// replied takes the owner's last number from a reply; true: everything is to be announced anew, since the owner
// changed or a batch that it had sent before its previous reply has not arrived. Replies and batches come by different
// ways, so what was sent just now may still be on its way.
func (l *deliveryLane) replied(epoch, sequence uint64, announced bool) bool {
	if epoch < l.epoch {
		return true // a former owner: the one who took over is to be told
	}
	if epoch > l.epoch {
		*l = deliveryLane{epoch: epoch, due: sequence}
		return !announced
	}
	if sequence < l.due { // the owner had forgotten this edge and counts anew
		*l = deliveryLane{epoch: epoch, last: min(l.last, sequence), due: sequence}
		return !announced
	}
	missed := l.last < l.due
	l.last = max(l.last, l.due)
	l.due = sequence
	return missed
}
