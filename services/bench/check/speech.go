package check

import (
	"fmt"
	"math/rand/v2"
	"strings"

	imv1 "github.com/catena-im/catena/proto/im/v1"
)

// speech decides what one device says to whom. Its decisions follow from its seed and from who is in the groups.
type speech struct {
	rng    *rand.Rand
	world  *world
	user   string
	prefix string // of client message ids; one for each device of a user
	said   int
}

func newSpeech(c Config, w *world, user, prefix string, stream uint64) *speech {
	return &speech{rng: rand.New(rand.NewPCG(c.Seed, stream)), world: w, user: user, prefix: prefix}
}

// utterance is a message to be sent.
type utterance struct {
	conversation string
	frame        *imv1.Send
}

// Of a hundred utterances, so many go …
const (
	toGroup    = 45 // … to a group of the user,
	toPeer     = 42 // … to another user,
	toSelf     = 10 // … to the user alone,
	toStranger = 3  // … to any group, which refuses who is not in it.
)

// burst is the messages to send next: often one, sometimes several to one conversation, so that several are in flight.
func (s *speech) burst() []utterance {
	n := 1
	if s.rng.IntN(5) == 0 {
		n = 2 + s.rng.IntN(7)
	}
	target := s.target()
	var us []utterance
	for range n {
		us = append(us, s.say(target))
	}
	return us
}

// target is a conversation; the frame names it by id or by the other user.
type target struct {
	conversation string
	to           string   // names it instead, when not empty
	others       []string // who may be named in a visibility
}

func (s *speech) target() target {
	chance := s.rng.IntN(100)
	groups := s.world.of(s.user)
	if chance >= toGroup+toPeer+toSelf {
		groups = s.world.all()
	}
	switch peers := s.world.peers[s.user]; {
	case len(groups) > 0 && (chance < toGroup || chance >= toGroup+toPeer+toSelf):
		g := groups[s.rng.IntN(len(groups))]
		return target{conversation: g.id, others: g.members}
	case len(peers) > 0 && chance < toGroup+toPeer:
		peer := peers[s.rng.IntN(len(peers))]
		return s.named(target{conversation: single(s.user, peer), others: []string{peer}}, peer)
	}
	return s.named(target{conversation: single(s.user, s.user)}, s.user)
}

// named lets the frame name the other user instead of the conversation half of the times.
func (s *speech) named(t target, user string) target {
	if s.rng.IntN(2) == 0 {
		t.to = user
	}
	return t
}

func (s *speech) say(t target) utterance {
	s.said++
	frame := &imv1.Send{ConversationId: t.conversation, ClientMessageId: fmt.Sprintf("%s-%d", s.prefix, s.said), Visibility: s.visibility(t.others)}
	if t.to != "" {
		frame.ConversationId, frame.ToUserId = "", t.to
	}
	frame.Type, frame.Body = s.body(frame.GetClientMessageId())
	return utterance{t.conversation, frame}
}

// visibility is everyone's mostly, else a part or the sender alone.
func (s *speech) visibility(others []string) *imv1.Visibility {
	switch chance := s.rng.IntN(100); {
	case chance < 15 && len(others) > 0:
		v := &imv1.Visibility{Scope: imv1.VisibilityScope_VISIBILITY_SCOPE_PART}
		for range 1 + s.rng.IntN(min(3, len(others))) {
			v.UserIds = append(v.UserIds, others[s.rng.IntN(len(others))])
		}
		return v
	case chance < 20:
		return &imv1.Visibility{Scope: imv1.VisibilityScope_VISIBILITY_SCOPE_SELF}
	case chance < 25:
		return &imv1.Visibility{Scope: imv1.VisibilityScope_VISIBILITY_SCOPE_EVERYONE}
	}
	return nil
}

// body is a text mostly, else another type; id makes it unlike all others.
func (s *speech) body(id string) (imv1.MessageType, *imv1.Body) {
	url := "https://files.example/" + id
	switch chance := s.rng.IntN(100); {
	case chance < 5:
		return imv1.MessageType_MESSAGE_TYPE_IMAGE, &imv1.Body{Content: &imv1.Body_Image{Image: &imv1.ImageBody{
			Url: url, WidthPx: 640, HeightPx: 480, MediaType: "image/png", Thumbnail: s.bytes(200), Caption: "of " + s.user}}}
	case chance < 8:
		return imv1.MessageType_MESSAGE_TYPE_AUDIO, &imv1.Body{Content: &imv1.Body_Audio{Audio: &imv1.AudioBody{Url: url, DurationMs: 1500}}}
	case chance < 11:
		return imv1.MessageType_MESSAGE_TYPE_VIDEO, &imv1.Body{Content: &imv1.Body_Video{Video: &imv1.VideoBody{Url: url, SizeBytes: 1 << 33}}}
	case chance < 14:
		return imv1.MessageType_MESSAGE_TYPE_FILE, &imv1.Body{Content: &imv1.Body_File{File: &imv1.FileBody{Url: url, Name: id + ".txt"}}}
	case chance < 17:
		return imv1.MessageType_MESSAGE_TYPE_LOCATION, &imv1.Body{Content: &imv1.Body_Location{Location: &imv1.LocationBody{
			LatitudeDeg: s.rng.Float64()*180 - 90, LongitudeDeg: s.rng.Float64()*360 - 180, Name: id}}}
	case chance < 20:
		return imv1.MessageType_MESSAGE_TYPE_CUSTOM, &imv1.Body{Content: &imv1.Body_Custom{Custom: &imv1.CustomBody{Kind: "check", Data: s.bytes(500)}}}
	case chance < 21:
		return text(id + strings.Repeat(" 长", 4000)) // 16 KB
	}
	return text(id + " – " + strings.Repeat("чат ", s.rng.IntN(60)))
}

func text(t string) (imv1.MessageType, *imv1.Body) {
	return imv1.MessageType_MESSAGE_TYPE_TEXT, &imv1.Body{Content: &imv1.Body_Text{Text: &imv1.TextBody{Text: t}}}
}

// bytes is up to n bytes of chance.
func (s *speech) bytes(n int) []byte {
	b := make([]byte, s.rng.IntN(n))
	for i := range b {
		b[i] = byte(s.rng.Uint32())
	}
	return b
}
