package im

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The ids. Each is UTF-8 and printable, without blanks and without the characters that subjects and conversation ids
// are built with; Validate says so in words that can be shown to a user.
type (
	UserID          string // 1 to MaxID bytes
	DeviceID        string // 1 to MaxID bytes; one client installation of a user
	ClientMessageID string // 1 to MaxID bytes; chosen by the sender, unique per conversation and sender
	ConversationID  string // made by Single or Group only
)

// An IDError says which id is wrong and why.
type IDError struct {
	Name string // the id's name in the field's words, such as "user id"
	Why  string // what is wrong with it and what would be right
}

func (e *IDError) Error() string { return e.Name + " " + e.Why }

func (id UserID) Validate() error          { return validate("user id", string(id)) }
func (id DeviceID) Validate() error        { return validate("device id", string(id)) }
func (id ClientMessageID) Validate() error { return validate("client message id", string(id)) }

func validate(name, id string) error {
	switch {
	case id == "":
		return &IDError{name, "is empty; give 1 to 64 bytes"}
	case len(id) > MaxID:
		return &IDError{name, fmt.Sprintf("is %d bytes long; give at most %d", len(id), MaxID)}
	case !utf8.ValidString(id):
		return &IDError{name, "is not UTF-8"}
	}
	for _, r := range id {
		if strings.ContainsRune(".*>:", r) || unicode.IsSpace(r) || !unicode.IsPrint(r) {
			return &IDError{name, fmt.Sprintf("holds %q; blanks, control characters and . * > : are not allowed", r)}
		}
	}
	return nil
}

// Kind tells the two kinds of conversation apart.
type Kind uint8

const (
	KindSingle Kind = iota + 1 // two users, or one user with themself
	KindGroup                  // members that change over time
)

// Single is the conversation of two users, the same whichever of them asks; a == b is a user's own notebook.
func Single(a, b UserID) ConversationID {
	if b < a {
		a, b = b, a
	}
	return ConversationID("s:" + a + ":" + b)
}

// Group is the id of the group that creator makes with the command id. A re-sent command names the same group, and
// nobody can guess the id of a group they were not told of unless they know both.
func Group(creator UserID, id ClientMessageID) ConversationID {
	sum := digest("group", string(creator), string(id))
	return ConversationID("g:" + strings.ToLower(groupEncoding.EncodeToString(sum[:groupBytes])))
}

const groupBytes = 15 // 24 characters of base32

var groupEncoding = base32.StdEncoding.WithPadding(base32.NoPadding)

// Parse takes a conversation id apart. It accepts exactly what Single and Group make.
func (id ConversationID) Parse() (Conversation, error) {
	const name = "conversation id"
	if len(id) > maxConversationID {
		return Conversation{}, &IDError{name, fmt.Sprintf("is %d bytes long; give at most %d", len(id), maxConversationID)}
	}
	kind, rest, _ := strings.Cut(string(id), ":")
	switch kind {
	case "s":
		a, b, _ := strings.Cut(rest, ":")
		c := Conversation{Kind: KindSingle, Users: [2]UserID{UserID(a), UserID(b)}}
		for _, u := range c.Users {
			if err := u.Validate(); err != nil {
				return Conversation{}, &IDError{name, "names a user whose " + err.Error()}
			}
		}
		if b < a {
			return Conversation{}, &IDError{name, "names its users in the wrong order; the smaller stands first"}
		}
		return c, nil
	case "g":
		raw, err := groupEncoding.DecodeString(strings.ToUpper(rest))
		if err != nil || len(raw) != groupBytes || rest != strings.ToLower(rest) {
			return Conversation{}, &IDError{name, "is not the id of a group; use the one that creating the group returned"}
		}
		return Conversation{Kind: KindGroup}, nil
	}
	return Conversation{}, &IDError{name, `is neither "s:<user>:<user>" nor "g:<token>"`}
}

// Conversation is what a conversation id tells by itself.
type Conversation struct {
	Kind  Kind
	Users [2]UserID // of a single conversation, sorted; the same twice for a user's own
}

// Holds reports whether u is one of the users of a single conversation.
func (c Conversation) Holds(u UserID) bool {
	return c.Kind == KindSingle && (c.Users[0] == u || c.Users[1] == u)
}

// Peer is the other user of a single conversation, u itself in u's own.
func (c Conversation) Peer(u UserID) UserID {
	if c.Users[0] == u {
		return c.Users[1]
	}
	return c.Users[0]
}

// MessageID names a message: 128 bits, derived, so that a re-send names the same message by construction.
type MessageID [16]byte

// NewMessageID derives the id of the message that sender sent to c under the client's id.
func NewMessageID(c ConversationID, sender UserID, id ClientMessageID) MessageID {
	sum := digest("message", string(c), string(sender), string(id))
	return MessageID(sum[:16])
}

func (id MessageID) String() string { return hex.EncodeToString(id[:]) }

// digest hashes parts so that no two different lists collide by concatenation.
func digest(parts ...string) [sha256.Size]byte {
	buf := make([]byte, 0, 256) // on the stack: a constant size
	for _, p := range parts {
		buf = binary.AppendUvarint(buf, uint64(len(p)))
		buf = append(buf, p...)
	}
	return sha256.Sum256(buf)
}

// Partition is the partition, 0 to n-1, that owns a conversation id or a user id.
func Partition[ID ConversationID | UserID](id ID, n int) int {
	h := uint32(2166136261) // FNV-1a, written out: hash/fnv allocates, and this is asked for every key
	for i := range len(id) {
		h = (h ^ uint32(id[i])) * 16777619
	}
	return int((h ^ h>>16) % uint32(n)) // the lower bits alone would depend on the lower bits of each byte only
}
