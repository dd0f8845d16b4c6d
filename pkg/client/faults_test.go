package client

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	imv1 "github.com/catena-im/catena/proto/im/v1"
)

// island is a server with one user, who talks to others that are never there, and a network that loses answers, pushes
// and connections, and repeats and delays pushes.
type island struct {
	f *fake

	mu     sync.Mutex // guards the fields below
	dice   *rand.Rand
	faulty bool
	known  map[string]bool     // conversation/client message id
	chain  []*imv1.UserEntry   // the user chain
	chains map[string][]string // client message ids by conversation
}

// chance is true once in n times while the network is faulty.
func (i *island) chance(n int) bool { return i.faulty && i.dice.IntN(n) == 0 }

func (i *island) run() {
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		select {
		case p := <-i.f.conns:
			wg.Go(func() {
				for frame := range p.in {
					i.handle(p, frame)
				}
			})
		case <-i.f.closed:
			return
		}
	}
}

func (i *island) handle(p *peer, frame *imv1.ClientFrame) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.chance(60) {
		p.conn.CloseNow()
	}
	switch body := frame.GetBody().(type) {
	case *imv1.ClientFrame_Connect:
		p.answer(frame, &imv1.ServerFrame{Body: &imv1.ServerFrame_Connected{Connected: &imv1.Connected{
			UserId: "alice", Head: i.head(), HeartbeatMs: 10_000,
		}}})
	case *imv1.ClientFrame_Ping:
		p.answer(frame, &imv1.ServerFrame{Body: &imv1.ServerFrame_Pong{Pong: &imv1.Pong{}}})
		p.send(&imv1.ServerFrame{Body: &imv1.ServerFrame_Head{Head: i.head()}})
	case *imv1.ClientFrame_PullUser:
		if !i.chance(5) {
			p.page(frame, uint64(len(i.chain)), 7)
		}
	case *imv1.ClientFrame_Send:
		answer := i.commit(p, body.Send)
		if !i.chance(10) {
			answer.Id = frame.GetId()
			p.send(answer)
		}
	}
}

func (i *island) head() *imv1.Head {
	return &imv1.Head{UserIndex: uint64(len(i.chain)), OldestUserIndex: 1}
}

func (i *island) commit(p *peer, s *imv1.Send) *imv1.ServerFrame {
	refuse := func(code imv1.ErrorCode, retryable bool) *imv1.ServerFrame {
		return &imv1.ServerFrame{Body: &imv1.ServerFrame_Error{Error: &imv1.Error{Code: code, Retryable: retryable}}}
	}
	conversation := singleID("alice", s.GetToUserId())
	name := func(id string) string { return conversation + "/" + id }
	switch known := i.known[name(s.GetClientMessageId())]; {
	case known:
	case i.chance(30):
		return refuse(imv1.ErrorCode_ERROR_CODE_UNAVAILABLE, true)
	case s.GetBody().GetText().GetText() == "":
		return refuse(imv1.ErrorCode_ERROR_CODE_INVALID_BODY, false)
	case s.GetAfter() != "" && !i.known[name(s.GetAfter())]:
		return refuse(imv1.ErrorCode_ERROR_CODE_OUT_OF_ORDER, true)
	default:
		i.known[name(s.GetClientMessageId())] = true
		i.chains[conversation] = append(i.chains[conversation], s.GetClientMessageId())
		i.chain = append(i.chain, entry(uint64(len(i.chain)+1)))
		for n := len(i.chain); n > 0 && !i.chance(8) && len(i.chain)-n < 3; n-- {
			if n == len(i.chain) || i.chance(6) { // perhaps some older ones again
				p.push(uint64(n))
			}
		}
	}
	return &imv1.ServerFrame{Body: &imv1.ServerFrame_Sent{Sent: &imv1.Sent{}}}
}

func TestNothingIsLostRepeatedOrReordered(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			bubble(t, func(t *testing.T, f *fake) {
				i := &island{
					f: f, dice: rand.New(rand.NewPCG(seed, 0)), faulty: true,
					known: map[string]bool{}, chains: map[string][]string{},
				}
				go i.run()
				live(t, f, i)
			})
		})
	}
}

// live queues messages over some restarts, then makes the network well and checks what came of it.
func live(t *testing.T, f *fake, i *island) {
	const restarts, perLife = 4, 50
	cfg := f.config()
	cfg.Store = NewMemoryStore()
	want := map[string][]string{}
	var c *Client
	var stop func() error
	for life := range restarts {
		c, stop = f.start(cfg)
		for n := range perLife {
			m := text([]string{"bob", "carol"}[n%2], fmt.Sprintf("m%d.%d", life, n))
			if n%17 == 3 {
				m.Body.GetText().Text = ""
			} else {
				want[singleID("alice", m.To)] = append(want[singleID("alice", m.To)], m.ClientMessageID)
			}
			enqueue(t, c, m)
		}
		reached := (life + 1) * perLife / 2 // about half of it, then the next life
		if life == restarts-1 {
			i.mu.Lock()
			i.faulty = false
			i.mu.Unlock()
			reached = restarts * perLife
		}
		f.await(func(e []Event) bool { return len(results(e)) >= reached })
		if life < restarts-1 {
			stop()
		}
	}
	i.mu.Lock()
	n := uint64(len(i.chain))
	i.mu.Unlock()
	f.await(told(n))
	if err := c.Ready(context.Background()); err != nil {
		t.Error(err)
	}
	stop()
	t.Logf("%d connections lost", len(of[Disconnected](f.events())))
	checkReceived(t, f, c, n)
	for conversation, messages := range want {
		if got := i.chains[conversation]; !slices.Equal(got, messages) {
			t.Errorf("%s holds %v, queued were %v", conversation, got, messages)
		}
	}
	if failed := len(of[SendFailed](f.events())); failed != restarts*3 {
		t.Errorf("%d messages were refused, want %d", failed, restarts*3)
	}
}

// results are the ids whose fate was told.
func results(events []Event) map[string]bool {
	ids := map[string]bool{}
	for _, e := range events {
		switch e := e.(type) {
		case SendDone:
			ids[e.Outgoing.ClientMessageID] = true
		case SendFailed:
			ids[e.Outgoing.ClientMessageID] = true
		}
	}
	return ids
}
