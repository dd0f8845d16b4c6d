package client

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	imv1 "github.com/catena-im/catena/proto/im/v1"
	"pgregory.net/rapid"
)

// request is a transmission on its way to the server, or the server's answer on its way back.
type request struct {
	connection int
	id         uint64
	send       *imv1.Send
	refusal    *Error // of an answer; nil when the message is in its chain
}

// world is an outbox, a server that keeps conversation chains, and a network between them that delays everything, loses
// answers and connections, and delivers what a lost connection carried late or never. The order of one connection's
// requests is all it keeps.
type world struct {
	outbox     *outbox
	now        time.Time
	seq, id    uint64
	connection int
	queued     map[string][]string // by conversation
	chains     map[string][]string
	wires      map[int][]request // by connection
	answers    []request
	done       map[string]bool
	dropped    map[string]bool
	withdrawn  map[string]bool // true: in doubt
}

func newWorld() *world {
	w := &world{
		outbox: newOutbox(3, 10*time.Second, backoff{time.Second, 5 * time.Second}), now: time.Unix(0, 0),
		queued: map[string][]string{}, chains: map[string][]string{}, wires: map[int][]request{},
		done: map[string]bool{}, dropped: map[string]bool{}, withdrawn: map[string]bool{},
	}
	return w
}

func (w *world) queue(t *rapid.T) {
	to := rapid.SampledFrom([]string{"bob", "carol"}).Draw(t, "to")
	w.seq++
	send := &imv1.Send{ClientMessageId: fmt.Sprintf("m%d", w.seq)}
	if rapid.IntRange(0, 5).Draw(t, "poison") == 0 {
		send.ClientMessageId = fmt.Sprintf("bad%d", w.seq)
	}
	if rapid.Bool().Draw(t, "by id") {
		send.ConversationId = "s:alice:" + to
	} else {
		send.ToUserId = to
	}
	w.outbox.add(Queued{w.seq, send})
	key := "s:alice:" + to
	w.queued[key] = append(w.queued[key], send.GetClientMessageId())
}

func (w *world) transmit() {
	for len(w.outbox.flights) < 8 {
		send := w.outbox.next(w.id+1, w.now)
		if send == nil {
			return
		}
		w.id++
		w.wires[w.connection] = append(w.wires[w.connection], request{w.connection, w.id, send, nil})
	}
}

// serve lets the server take the first request of a connection.
func (w *world) serve(connection int, available bool) {
	wire := w.wires[connection]
	r := wire[0]
	if w.wires[connection] = wire[1:]; len(wire) == 1 {
		delete(w.wires, connection)
	}
	key := r.send.GetConversationId()
	if key == "" {
		key = singleID("alice", r.send.GetToUserId())
	}
	id, after := r.send.GetClientMessageId(), r.send.GetAfter()
	switch chain := w.chains[key]; {
	case slices.Contains(chain, id):
	case !available:
		r.refusal = &Error{Code: imv1.ErrorCode_ERROR_CODE_UNAVAILABLE, Retryable: true}
	case strings.HasPrefix(id, "bad"):
		r.refusal = &Error{Code: imv1.ErrorCode_ERROR_CODE_INVALID_BODY}
	case after != "" && !slices.Contains(chain, after):
		r.refusal = &Error{Code: imv1.ErrorCode_ERROR_CODE_OUT_OF_ORDER, Retryable: true}
	default:
		w.chains[key] = append(chain, id)
	}
	w.answers = append(w.answers, r)
}

// hear lets the client take an answer.
func (w *world) hear(t *rapid.T, at int, dice float64) {
	r := w.answers[at]
	w.answers = slices.Delete(w.answers, at, at+1)
	if r.connection != w.connection {
		return
	}
	var it *item
	reported := w.done
	if r.refusal != nil {
		it, reported = w.outbox.refused(r.id, r.refusal, w.now, dice), w.dropped
	} else {
		it = w.outbox.accepted(r.id)
	}
	if it == nil {
		return
	}
	id := it.Send.GetClientMessageId()
	if _, withdrawn := w.withdrawn[id]; w.done[id] || w.dropped[id] || withdrawn {
		t.Fatalf("%s is reported twice", id)
	}
	reported[id] = true
}

func (w *world) withdraw(t *rapid.T) {
	it := w.outbox.items[rapid.SampledFrom(slices.Sorted(maps.Keys(w.outbox.items))).Draw(t, "message")]
	if w.outbox.withdraw(keyOf(it.Send)) != it || w.outbox.withdraw(keyOf(it.Send)) != nil {
		t.Fatalf("%v is not withdrawn once", it.Send)
	}
	w.withdrawn[it.Send.GetClientMessageId()] = it.open > 0
}

func (w *world) cut() {
	w.connection++
	w.outbox.disconnected()
	w.outbox.connected("alice")
}

func (w *world) check(t *rapid.T) {
	for key, chain := range w.chains {
		rest := w.queued[key]
		for _, id := range chain {
			if doubt, withdrawn := w.withdrawn[id]; withdrawn {
				if !doubt {
					t.Fatalf("%s: %s was withdrawn without a doubt, the chain is %v", key, id, chain)
				}
				continue // it may come late
			}
			at := slices.Index(rest, id)
			if at < 0 {
				t.Fatalf("%s: the chain is %v, queued were %v", key, chain, w.queued[key])
			}
			rest = rest[at+1:]
		}
	}
	for _, q := range w.outbox.turns {
		if q.flying < 0 || q.flying > min(len(q.items), w.outbox.window) {
			t.Fatalf("%d of %d messages are in flight", q.flying, len(q.items))
		}
	}
}

// settle makes the network well and lets everything come to its end.
func (w *world) settle(t *rapid.T) {
	w.cut()
	for round := 0; len(w.outbox.items) > 0; round++ {
		if round > 1000 {
			t.Fatalf("%d messages are never answered", len(w.outbox.items))
		}
		w.transmit()
		for len(w.wires) > 0 {
			for connection := range w.connection + 1 {
				if len(w.wires[connection]) > 0 {
					w.serve(connection, true)
				}
			}
		}
		for len(w.answers) > 0 {
			w.hear(t, 0, 0.5)
		}
		if at := w.outbox.deadline(w.now); !at.IsZero() {
			w.now = at
			w.outbox.expire(w.now)
		}
	}
	w.check(t)
	for key, queued := range w.queued {
		for _, id := range queued {
			if _, withdrawn := w.withdrawn[id]; withdrawn {
				continue
			}
			bad := strings.HasPrefix(id, "bad")
			if w.dropped[id] != bad || w.done[id] == bad || slices.Contains(w.chains[key], id) == bad {
				t.Fatalf("%s: done %v, dropped %v, chain %v", id, w.done[id], w.dropped[id], w.chains[key])
			}
		}
	}
}

func TestOutboxOverAnyNetwork(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld()
		t.Repeat(map[string]func(*rapid.T){
			"queue":    w.queue,
			"transmit": func(*rapid.T) { w.transmit() },
			"serve": func(t *rapid.T) {
				if len(w.wires) == 0 {
					t.Skip("nothing on the way")
				}
				w.serve(rapid.SampledFrom(slices.Sorted(maps.Keys(w.wires))).Draw(t, "connection"), rapid.IntRange(0, 9).Draw(t, "available") > 0)
			},
			"hear": func(t *rapid.T) {
				if len(w.answers) == 0 {
					t.Skip("no answer on the way")
				}
				at := rapid.IntRange(0, len(w.answers)-1).Draw(t, "answer")
				w.hear(t, at, rapid.Float64Range(0, 0.99).Draw(t, "dice"))
			},
			"lose answer": func(t *rapid.T) {
				if len(w.answers) == 0 {
					t.Skip("no answer on the way")
				}
				at := rapid.IntRange(0, len(w.answers)-1).Draw(t, "answer")
				w.answers = slices.Delete(w.answers, at, at+1)
			},
			"withdraw": func(t *rapid.T) {
				if len(w.outbox.items) == 0 || rapid.IntRange(0, 2).Draw(t, "rarely") > 0 {
					t.Skip("nothing to withdraw")
				}
				w.withdraw(t)
			},
			"cut": func(*rapid.T) { w.cut() },
			"wait": func(t *rapid.T) {
				w.now = w.now.Add(time.Duration(rapid.IntRange(1, 30).Draw(t, "seconds")) * time.Second)
				if w.outbox.expire(w.now) {
					w.cut()
				}
			},
			"": w.check,
		})
		w.settle(t)
	})
}

// reader is a chain, a server's user chain of which old entries are removed, and a network that loses, repeats and
// delays pushes and answers.
type reader struct {
	chain        *chain
	now          time.Time
	id           uint64
	head, oldest uint64
	pulls        map[uint64]*imv1.PullUser
	next         uint64 // the index that must be handed on next
	waiting      int    // handed on, not yet had by the application
}

// take checks what the chain hands on: every index once, in order, skipping only what is removed.
func (r *reader) take(t *rapid.T, steps []advance) {
	for _, a := range steps {
		switch {
		case a.entry != nil && a.entry.GetUserIndex() == r.next:
			r.waiting++
		case a.entry == nil && a.from == r.next && a.to < r.oldest:
		default:
			t.Fatalf("handed on %+v where %d is next and %d the oldest", a, r.next, r.oldest)
		}
		r.next = a.position() + 1
	}
	if r.waiting > maxWaiting || len(r.chain.early) > maxEarly {
		t.Fatalf("%d entries wait, %d pushes are kept", r.waiting, len(r.chain.early))
	}
}

// pull sends a pull if one is due. A pull whose answer is lost is overdue some time.
func (r *reader) pull() {
	if p := r.chain.next(r.id+1, r.now); p != nil {
		r.id++
		r.pulls[r.id] = p
	}
}

func (r *reader) answer(t *rapid.T, id uint64) {
	pull := r.pulls[id]
	delete(r.pulls, id)
	page := &imv1.UserPage{Head: &imv1.Head{UserIndex: r.head, OldestUserIndex: r.oldest}}
	to := r.head
	if pull.ToIndex != nil {
		to = min(to, pull.GetToIndex())
	}
	for i := max(pull.GetFromIndex(), r.oldest); i <= to && len(page.Entries) < int(pull.GetLimit()); i++ {
		page.Entries = append(page.Entries, entry(i))
	}
	r.take(t, r.chain.paged(id, page, r.now, 0.5))
}

func (r *reader) connect(t *rapid.T) {
	r.chain.disconnected()
	clear(r.pulls)
	steps, err := r.chain.connected(&imv1.Head{UserIndex: r.head, OldestUserIndex: r.oldest})
	if err != nil {
		t.Fatal(err)
	}
	r.take(t, steps)
}

func TestChainOverAnyNetwork(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := &reader{
			chain: newChain(10*time.Second, backoff{time.Second, 5 * time.Second}), now: time.Unix(0, 0),
			oldest: 1, next: 1, pulls: map[uint64]*imv1.PullUser{},
		}
		r.connect(t)
		t.Repeat(map[string]func(*rapid.T){
			"grow": func(t *rapid.T) { r.head += uint64(rapid.IntRange(1, 400).Draw(t, "entries")) },
			"remove": func(t *rapid.T) {
				r.oldest = rapid.Uint64Range(r.oldest, r.head+1).Draw(t, "oldest")
			},
			"push": func(t *rapid.T) {
				if r.head == 0 {
					t.Skip("nothing to push")
				}
				from := rapid.Uint64Range(max(1, min(r.next, r.head)-1), r.head).Draw(t, "from")
				to := min(r.head, from+rapid.Uint64Range(0, 300).Draw(t, "more"))
				for i := from; i <= to; i++ {
					r.take(t, r.chain.push(entry(i)))
				}
			},
			"push in line": func(t *rapid.T) {
				to := min(r.head, r.next+rapid.Uint64Range(0, 300).Draw(t, "more"))
				for i := r.next; i <= to; i++ {
					r.take(t, r.chain.push(entry(i)))
				}
			},
			"pull": func(*rapid.T) { r.pull() },
			"answer": func(t *rapid.T) {
				if len(r.pulls) == 0 {
					t.Skip("no pull on the way")
				}
				r.answer(t, rapid.SampledFrom(slices.Sorted(maps.Keys(r.pulls))).Draw(t, "pull"))
			},
			"refuse": func(*rapid.T) { r.chain.failed(r.chain.flight, 0, r.now, 0.5) },
			"told": func(t *rapid.T) {
				n := rapid.IntRange(0, r.waiting).Draw(t, "entries")
				r.waiting -= n
				r.take(t, r.chain.released(n))
			},
			"wait": func(t *rapid.T) {
				r.now = r.now.Add(time.Duration(rapid.IntRange(1, 30).Draw(t, "seconds")) * time.Second)
				if r.chain.expire(r.now) {
					r.connect(t)
				}
			},
			"reconnect": r.connect,
		})
		r.take(t, r.chain.tell(&imv1.Head{UserIndex: r.head, OldestUserIndex: r.oldest}))
		for round := 0; r.next <= r.head; round++ {
			if round > 1000 {
				t.Fatalf("stays at %d of %d", r.next-1, r.head)
			}
			r.pull()
			for id := range r.pulls {
				r.answer(t, id)
			}
			n := r.waiting
			r.waiting = 0
			r.take(t, r.chain.released(n))
			r.now = r.now.Add(time.Minute)
			r.chain.expire(r.now)
		}
	})
}
