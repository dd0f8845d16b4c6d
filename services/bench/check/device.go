package check

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/catena-im/catena/pkg/client"
	imv1 "github.com/catena-im/catena/proto/im/v1"
	"github.com/catena-im/catena/services/bench/check/judge"
)

// device is one device of a user on the SDK. It remembers what an application would: what the events brought and the
// read positions it was told. Its client is replaced when the device restarts; the store and the memory stay.
type device struct {
	*run
	user, name string
	json       bool
	socket     socket
	store      *client.MemoryStore
	restarts   chan struct{} // holds one wish to restart
	pending    atomic.Int64  // messages that are neither acknowledged nor refused

	talking sync.Mutex // held while a burst is made up and queued: the queue has the order of the journal
	speech  *speech

	life   sync.RWMutex // held to read while the client is used for queueing, to write while it is replaced
	client *client.Client

	mu      sync.Mutex // guards the fields below
	applied []judge.Entry
	heads   map[string]uint64 // the last index that was applied of each conversation
	known   map[string]readPosition
	stale   bool // the conversation list is to be read again
}

// readPosition is a read position and the version of the list that it was told with.
type readPosition struct{ index, version uint64 }

// The SDK's waits are shorter than its defaults, so that a short run sees many of them.
const (
	sendTimeout = 4 * time.Second
	minBackoff  = 50 * time.Millisecond
	maxBackoff  = 2 * time.Second
)

func newDevice(r *run, user, name string, json bool, s *speech) *device {
	return &device{run: r, user: user, name: name, json: json, speech: s, store: client.NewMemoryStore(), socket: socket{edges: &r.edges},
		restarts: make(chan struct{}, 1), heads: map[string]uint64{}, known: map[string]readPosition{}}
}

// replace makes a new client on the same store.
func (d *device) replace() error {
	c, err := client.New(client.Config{
		URL: d.URL, Device: d.name, Platform: "check", Store: d.store, OnEvent: d.on, Log: d.deps.Log,
		Token:       func(context.Context) (string, error) { return d.deps.Token(d.user) },
		SendTimeout: sendTimeout, MinBackoff: minBackoff, MaxBackoff: maxBackoff,
		SyncFromStart: true, Dial: d.socket.dial, JSON: d.json,
	})
	if err != nil {
		return fmt.Errorf("device %s of %s: %w", d.name, d.user, err)
	}
	d.client = c
	return nil
}

// live runs the client until ctx ends, and restarts it when told to. The first client must have been made.
func (d *device) live(ctx context.Context) error {
	for {
		err := d.once(ctx)
		if err != nil {
			return fmt.Errorf("device %s of %s stopped: %w", d.name, d.user, err)
		}
		if ctx.Err() != nil {
			return nil
		}
	}
}

// once runs one client to its end and makes the next one.
func (d *device) once(ctx context.Context) error {
	runCtx, stop := context.WithCancel(ctx)
	defer stop()
	var running sync.WaitGroup
	var err error
	running.Go(func() {
		defer stop()
		err = d.client.Run(runCtx)
	})
	select {
	case <-d.restarts:
	case <-runCtx.Done():
	}
	d.life.Lock() // nobody queues while the store changes hands
	defer d.life.Unlock()
	stop()
	running.Wait()
	if err != nil || ctx.Err() != nil {
		return err
	}
	return d.replace()
}

// restart asks for a new client; a wish that is not fulfilled yet is enough.
func (d *device) restart() {
	select {
	case d.restarts <- struct{}{}:
	default:
	}
}

// now is the client at this moment. A restart may end it any time.
func (d *device) now() *client.Client {
	d.life.RLock()
	defer d.life.RUnlock()
	return d.client
}

// on is the client's OnEvent.
func (d *device) on(event client.Event) {
	switch e := event.(type) {
	case client.MessageReceived:
		d.apply(e)
	case client.SendDone:
		d.settled(e.Outgoing.ClientMessageID, func(s *sent) { d.journal.answered(s, 0, false, e.Sent) })
	case client.SendFailed:
		d.settled(e.Outgoing.ClientMessageID, func(s *sent) { d.journal.refused(s, false, wireError(e.Err)) })
	case client.ReadMoved:
		d.told(e.ConversationID, e.ReadIndex, e.ListVersion)
	case client.ListChanged:
		d.refreshLater()
	}
}

func (d *device) apply(e client.MessageReceived) {
	m := d.journal.intern(e.Message)
	d.journal.applied()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.applied = append(d.applied, judge.Entry{UserIndex: e.UserIndex, Message: m})
	d.heads[m.GetConversationId()] = max(d.heads[m.GetConversationId()], m.GetConversationIndex())
}

// settled hands what became of a queued message to note.
func (d *device) settled(id string, note func(*sent)) {
	s := d.journal.find(d.user, id)
	if s == nil {
		d.journal.trouble(fmt.Sprintf("device %s of %s tells of a message %q that it was never given", d.name, d.user, id))
		return
	}
	note(s)
	d.pending.Add(-1)
}

// wireError is err as the server sent it.
func wireError(err error) *imv1.Error {
	var refusal *client.Error
	if errors.As(err, &refusal) {
		return &imv1.Error{Code: refusal.Code, Text: refusal.Text, Retryable: refusal.Retryable}
	}
	return &imv1.Error{Text: err.Error()}
}

// told takes in a read position.
func (d *device) told(conversation string, index, version uint64) {
	d.journal.read(d.user, conversation, index, version)
	d.mu.Lock()
	defer d.mu.Unlock()
	if version >= d.known[conversation].version {
		d.known[conversation] = readPosition{index, version}
	}
}

// queue records a message that the outbox is to see through.
func (d *device) queue(u utterance) *sent {
	d.pending.Add(1)
	return d.journal.queue(author{d.user, d.name, true}, u)
}

// enqueue puts a message into the outbox. It reports whether the device took it.
func (d *device) enqueue(ctx context.Context, u utterance) bool {
	d.life.RLock()
	defer d.life.RUnlock()
	s := d.queue(u)
	if _, err := d.client.Enqueue(ctx, outgoing(u.frame)); err != nil {
		d.pending.Add(-1)
		d.journal.withdraw(s)
		return false
	}
	return true
}

func outgoing(f *imv1.Send) client.Outgoing {
	return client.Outgoing{ConversationID: f.GetConversationId(), To: f.GetToUserId(), ClientMessageID: f.GetClientMessageId(),
		Type: f.GetType(), Body: f.GetBody(), Visibility: f.GetVisibility()}
}

// head is the last index that the device applied of a conversation.
func (d *device) head(conversation string) uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.heads[conversation]
}

// view is what the device got, for the judge.
func (d *device) view() judge.DeviceView {
	d.mu.Lock()
	defer d.mu.Unlock()
	reads := map[string]uint64{}
	for id, p := range d.known {
		reads[id] = p.index
	}
	return judge.DeviceView{User: d.user, Device: d.name, Applied: d.applied, Reads: reads}
}
