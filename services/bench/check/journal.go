package check

import (
	"crypto/sha256"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	imv1 "github.com/catena-im/catena/proto/im/v1"
	"github.com/catena-im/catena/services/bench/check/judge"
)

// journal records what is asked and answered while a run goes on. What it holds is bounded by what the run sends, so by
// its rate and duration; a message that is seen many times is kept once.
type journal struct {
	mu        sync.Mutex // guards the fields below
	messages  map[[sha256.Size]byte]*imv1.Message
	sends     []*sent
	byID      map[sendID]*sent
	acked     []*sent
	commands  []*judge.Command
	marks     map[judge.Mark]bool
	reads     map[judge.Read]bool
	sightings map[judge.Sighting]bool
	delivered int
	faults    map[string]int
	incidents []Incident
	waiting   int // the sends before this one are answered; see answeredUpTo
	troubles  []string
}

// sendID names a send; the devices of a user never choose the same client message id.
type sendID struct{ user, id string }

// sent is a send with the frame that carried it.
type sent struct {
	*judge.Send
	frame *imv1.Send
	void  bool // never left the device
	times span // queued, and first answered or refused
}

func newJournal() *journal {
	return &journal{
		messages: map[[sha256.Size]byte]*imv1.Message{}, byID: map[sendID]*sent{}, marks: map[judge.Mark]bool{},
		reads: map[judge.Read]bool{}, sightings: map[judge.Sighting]bool{}, faults: map[string]int{},
	}
}

// author is who sends a message.
type author struct {
	user, device string // an empty device promises no order
	outbox       bool   // an SDK client sees it through
}

// queue records a message before it leaves.
func (j *journal) queue(by author, u utterance) *sent {
	s := &sent{frame: u.frame, times: span{begin: time.Now()}, Send: &judge.Send{User: by.user, Device: by.device, Outbox: by.outbox, Conversation: u.conversation,
		ClientMessageID: u.frame.GetClientMessageId(), Contents: []judge.Content{content(u.frame)}}}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.sends = append(j.sends, s)
	j.byID[sendID{s.User, s.ClientMessageID}] = s
	return s
}

func content(frame *imv1.Send) judge.Content {
	return judge.Content{Type: frame.GetType(), Body: frame.GetBody(), Visibility: frame.GetVisibility()}
}

// withdraw takes back a message that did not leave.
func (j *journal) withdraw(s *sent) {
	j.mu.Lock()
	defer j.mu.Unlock()
	s.void = true
}

// find returns what user queued under id; nil when that is unknown.
func (j *journal) find(user, id string) *sent {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.byID[sendID{user, id}]
}

// other records that another content is sent under the id of s, and returns its number.
func (j *journal) other(s *sent, frame *imv1.Send) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	s.Contents = append(s.Contents, content(frame))
	return len(s.Contents) - 1
}

// answered records an answer to a request that carried the numbered content; late: it was asked after another answer.
func (j *journal) answered(s *sent, content int, late bool, answer *imv1.Sent) {
	a := judge.AnswerOf(answer)
	a.Content, a.Late = content, late
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(s.Answers) == 0 {
		j.acked = append(j.acked, s)
		s.times.end = time.Now()
	}
	s.Answers = append(s.Answers, a)
	if !s.Outbox && !late {
		s.Refusal = nil
	}
}

// refused records that a request was refused for good. Of several requests without an outbox, one may be refused and
// another not, since who is in the conversation may change between them; then the message counts as taken.
func (j *journal) refused(s *sent, late bool, refusal *imv1.Error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if !s.Outbox && !late && len(s.Answers) > 0 {
		return
	}
	s.Refusal = refusal
	if s.times.end.IsZero() {
		s.times.end = time.Now()
	}
}

// draw picks one of the acknowledged messages; nil when there is none.
func (j *journal) draw(rng *rand.Rand) *sent {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.acked) == 0 {
		return nil
	}
	return j.acked[rng.IntN(len(j.acked))]
}

// command records a membership command before it leaves.
func (j *journal) command(c *judge.Command) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.commands = append(j.commands, c)
}

func (j *journal) obeyed(c *judge.Command, answer *imv1.Sent) {
	a := judge.AnswerOf(answer)
	j.mu.Lock()
	defer j.mu.Unlock()
	c.Answer, c.Conversation = &a, a.Conversation
}

// outgoers are the acknowledged commands that took users out of groups.
func (j *journal) outgoers() (out []*judge.Command) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, cmd := range j.commands {
		switch cmd.Event {
		case imv1.SystemEvent_SYSTEM_EVENT_MEMBER_LEFT, imv1.SystemEvent_SYSTEM_EVENT_MEMBERS_REMOVED:
			if cmd.Answer != nil {
				out = append(out, cmd)
			}
		}
	}
	return out
}

func (j *journal) mark(user, conversation string, index uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.marks[judge.Mark{User: user, Conversation: conversation, Index: index}] = true
}

func (j *journal) read(user, conversation string, index, version uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.reads[judge.Read{User: user, Conversation: conversation, Index: index, ListVersion: version}] = true
}

// intern returns the one copy of m that the journal keeps.
func (j *journal) intern(m *imv1.Message) *imv1.Message {
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return m // text that is not UTF-8: the judge will say that it differs
	}
	key := sha256.Sum256(data)
	j.mu.Lock()
	defer j.mu.Unlock()
	if known, ok := j.messages[key]; ok {
		return known
	}
	j.messages[key] = m
	return m
}

// saw records a message that was shown to user. It does not keep m itself when it was seen before.
func (j *journal) saw(user string, via judge.Via, userIndex uint64, m *imv1.Message) {
	if m == nil {
		return
	}
	s := judge.Sighting{User: user, Via: via, UserIndex: userIndex, Message: j.intern(m)}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.sightings[s] = true
}

func (j *journal) applied() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.delivered++
}

// fault counts a fault that was injected.
func (j *journal) fault(kind string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.faults[kind]++
}

// incident records a harm that was done.
func (j *journal) incident(in Incident) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.incidents = append(j.incidents, in)
}

// answeredUpTo reports whether every message that an outbox held at t was answered.
func (j *journal) answeredUpTo(t time.Time) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	for ; j.waiting < len(j.sends); j.waiting++ {
		s := j.sends[j.waiting]
		if s.times.begin.After(t) {
			return true
		}
		if s.Outbox && !s.void && len(s.Answers) == 0 && s.Refusal == nil {
			return false
		}
	}
	return true
}

// asked is when the messages of outboxes were queued and acknowledged.
func (j *journal) asked() (all []asked) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, s := range j.sends {
		if s.Outbox && !s.void {
			all = append(all, asked{s.times, len(s.Answers) > 0})
		}
	}
	return all
}

// trouble records what keeps the run from being judged as it should.
func (j *journal) trouble(what string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.troubles) < maxTroubles {
		j.troubles = append(j.troubles, what)
	}
}

const maxTroubles = 20

// record is the journal as the judge takes it. Everybody who writes to the journal must have stopped.
func (j *journal) record() *judge.Record {
	j.mu.Lock()
	defer j.mu.Unlock()
	r := &judge.Record{
		Commands:  j.commands,
		Marks:     slices.Collect(maps.Keys(j.marks)),
		Reads:     slices.Collect(maps.Keys(j.reads)),
		Sightings: slices.Collect(maps.Keys(j.sightings)),
	}
	for _, s := range j.sends {
		if !s.void {
			r.Sends = append(r.Sends, s.Send)
		}
	}
	return r
}
