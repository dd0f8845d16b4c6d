package edge

import (
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/catena-im/catena/pkg/im"
	imv1 "github.com/catena-im/catena/proto/im/v1"
)

// settled waits until a user is registered and everything was told.
func (o *owner) settled(t *testing.T, s *server, user string) {
	t.Helper()
	eventually(t, user+" is registered", func() bool {
		p := s.edge.partitions[0]
		p.mu.Lock()
		defer p.mu.Unlock()
		return o.has(user) && len(p.changed) == 0 && !p.announce && p.lane.epoch > 0
	})
}

func (s *server) announceOwner(epoch uint64) {
	data, err := proto.Marshal(&imv1.SessionCall{Epoch: epoch})
	if err != nil {
		s.t.Fatal(err)
	}
	s.call(data)
}

func TestUsersAreRegisteredAndDropped(t *testing.T) {
	w := newWorld(t)
	o := newOwner(w)
	s := serve(t, w, Config{})
	phone := s.login(t, "alice", "phone")
	o.settled(t, s, "alice")
	first := o.heard()[0]
	if !first.GetReplace() || first.GetEdgeId() != s.edge.ID() {
		t.Errorf("the first request is %v, want replace", first)
	}
	before := o.asked()
	desk := s.login(t, "alice", "desk")
	s.login(t, "bob", "d")
	o.settled(t, s, "bob")
	for _, r := range o.heard()[before:] {
		if r.GetReplace() || len(r.GetAddUserIds()) != 1 {
			t.Errorf("got %v, want bob alone to be added", r)
		}
	}
	_ = phone.conn.CloseNow()
	_ = desk.conn.CloseNow()
	eventually(t, "alice is dropped", func() bool { return !o.has("alice") })
	if !o.has("bob") {
		t.Error("bob was dropped")
	}
}

func TestRegistrationIsRenewed(t *testing.T) {
	w := newWorld(t)
	o := newOwner(w)
	s := serve(t, w, Config{RenewEvery: time.Millisecond})
	s.login(t, "alice", "d")
	o.settled(t, s, "alice")
	before := o.asked()
	eventually(t, "it is renewed", func() bool { return o.asked() > before+2 })
	o.mu.Lock()
	defer o.mu.Unlock()
	if r := o.requests[len(o.requests)-1]; len(r.GetAddUserIds()) > 0 || r.GetReplace() {
		t.Errorf("got %v, want an empty request", r)
	}
}

func TestOwnerThatForgotIsToldEverything(t *testing.T) {
	for name, forget := range map[string]func(*server, *owner){
		"renewal says unknown": func(_ *server, o *owner) { o.set(func() { o.known, o.users = false, nil }) },
		"a new owner calls": func(s *server, o *owner) {
			o.set(func() { o.known, o.users, o.epoch = false, nil, 2 })
			s.announceOwner(2)
		},
		"a new owner answers": func(_ *server, o *owner) { o.set(func() { o.users, o.epoch = nil, 2 }) },
		"a new owner came while nobody answered": func(_ *server, o *owner) {
			o.set(func() { o.away = true })
			o.set(func() { o.away, o.known, o.users, o.epoch = false, false, nil, 2 })
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			o := newOwner(w)
			s := serve(t, w, Config{RenewEvery: time.Millisecond})
			p := s.login(t, "alice", "d")
			o.settled(t, s, "alice")
			forget(s, o)
			o.settled(t, s, "alice")
			p.ping()
		})
	}
}

func TestSessionsAreServedWhileTheOwnerIsAway(t *testing.T) {
	w := newWorld(t)
	o := newOwner(w)
	o.away = true
	s := serve(t, w, Config{RenewEvery: time.Millisecond})
	p := s.login(t, "alice", "d")
	gone := s.login(t, "bob", "d")
	p.ping()
	_ = gone.conn.CloseNow()
	o.set(func() { o.away, o.heads["alice"] = false, &imv1.Head{UserIndex: 9, OldestUserIndex: 1} })
	if f := p.next(); f.GetHead().GetUserIndex() != 9 {
		t.Errorf("got %v, want head 9", f)
	}
	o.settled(t, s, "alice")
}

func TestMissedDeliveryAnnouncesAgainAndTellsHeads(t *testing.T) {
	w := newWorld(t)
	o := newOwner(w)
	s := serve(t, w, Config{})
	p := s.login(t, "alice", "d")
	o.settled(t, s, "alice")
	s.push(1, 1, "one", "alice")
	if f := p.next(); f.GetPush().GetEntry().GetUserIndex() != 1 {
		t.Fatalf("got %v", f)
	}
	o.set(func() { o.sequence, o.heads["alice"] = 3, &imv1.Head{UserIndex: 4, OldestUserIndex: 1} })
	s.push(3, 3, "three", "alice") // 2 was lost
	if f := p.next(); f.GetPush().GetEntry().GetUserIndex() != 3 {
		t.Fatalf("got %v", f)
	}
	if f := p.next(); f.GetHead().GetUserIndex() != 4 {
		t.Errorf("got %v, want head 4", f)
	}
	o.settled(t, s, "alice")
	before := o.asked()
	s.push(4, 5, "four", "alice")
	if f := p.next(); f.GetPush().GetEntry().GetUserIndex() != 5 {
		t.Fatalf("got %v", f)
	}
	if o.asked() != before {
		t.Error("the users were announced without need")
	}
}

func TestLostTailIsNoticedByTheRenewals(t *testing.T) {
	w := newWorld(t)
	o := newOwner(w)
	s := serve(t, w, Config{RenewEvery: time.Millisecond})
	p := s.login(t, "alice", "d")
	o.settled(t, s, "alice")
	o.set(func() { o.sequence, o.heads["alice"] = 1, &imv1.Head{UserIndex: 1, OldestUserIndex: 1} }) // the batch never arrives
	if f := p.next(); f.GetHead().GetUserIndex() != 1 {
		t.Errorf("got %v, want head 1", f)
	}
}

func TestLargeRegistrationsAreCut(t *testing.T) {
	p := newPartition(&Edge{id: "e"}, 0)
	for i := range 2*maxRegistered + 1 {
		p.changed["drop"] = struct{}{}
		p.users[imUser(i)] = new(user)
	}
	requests := p.plan()
	if len(requests) != 3 {
		t.Fatalf("got %d requests, want 3", len(requests))
	}
	total := 0
	for i, r := range requests {
		total += len(r.GetAddUserIds())
		if r.GetReplace() != (i == 0) || r.GetMore() != (i < len(requests)-1) || len(r.GetAddUserIds()) > maxRegistered || len(r.GetDropUserIds()) > 0 {
			t.Errorf("request %d: replace %v, %d users", i, r.GetReplace(), len(r.GetAddUserIds()))
		}
	}
	if total != 2*maxRegistered+1 || len(p.changed) > 0 {
		t.Errorf("%d users were announced, %d changes are left", total, len(p.changed))
	}
}

func TestDeliveryLane(t *testing.T) {
	type step struct {
		reply, announced bool
		epoch, sequence  uint64
		want             bool // arrived: nothing is missing; replied: announce
	}
	for name, steps := range map[string][]step{
		"in order":                     {{true, true, 1, 0, false}, {false, false, 1, 1, true}, {false, false, 1, 2, true}, {true, false, 1, 2, false}},
		"one is missing":               {{true, true, 1, 0, false}, {false, false, 1, 2, false}, {false, false, 1, 3, true}},
		"tail lost":                    {{true, true, 1, 0, false}, {true, false, 1, 1, false}, {true, false, 1, 1, true}, {false, false, 1, 2, true}},
		"late but there":               {{true, true, 1, 0, false}, {true, false, 1, 1, false}, {false, false, 1, 1, true}, {true, false, 1, 1, false}},
		"overtaken by a batch":         {{false, false, 1, 1, true}, {true, true, 1, 1, false}, {false, false, 1, 2, true}},
		"new owner, not announced":     {{true, true, 1, 0, false}, {true, false, 2, 0, true}},
		"new owner's first batch":      {{true, true, 1, 0, false}, {false, false, 2, 1, true}, {false, false, 2, 2, true}},
		"former owner's late batch":    {{true, true, 2, 0, false}, {false, false, 1, 9, true}, {false, false, 2, 1, true}},
		"count begins again":           {{true, true, 1, 0, false}, {false, false, 1, 1, true}, {false, false, 1, 1, false}, {false, false, 1, 2, true}},
		"owner forgot and counts anew": {{true, true, 1, 5, false}, {false, false, 1, 6, false}, {true, false, 1, 6, false}, {true, true, 1, 0, false}, {false, false, 1, 1, true}},
		"answers only":                 {{false, false, 0, 0, true}},
		"first reply, batches before":  {{true, true, 1, 5, false}, {false, false, 1, 6, false}},
	} {
		var l deliveryLane
		for i, st := range steps {
			var got bool
			if st.reply {
				got = l.replied(st.epoch, st.sequence, st.announced)
			} else {
				got = l.arrived(st.epoch, st.sequence)
			}
			if got != st.want {
				t.Errorf("%s, step %d %+v: got %v", name, i, st, got)
			}
		}
	}
}

func imUser(i int) im.UserID { return im.UserID(fmt.Sprintf("u%d", i)) }
