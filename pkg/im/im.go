// Package im holds the nouns that everything in Catena speaks: ids, indexes, visibility and the limits of the wire. It
// decides nothing about storage or transport and imports the standard library only.
package im

import "slices"

// The limits that hold everywhere. They are constants and not configuration because the sequencing steps depend on
// them: the same stream must fold to the same store whoever replays it.
const (
	MaxID       = 64       // bytes of a user, device or client message id
	MaxBody     = 64 << 10 // bytes of an encoded message body
	MaxMembers  = 500      // members of a group, its owner included
	MaxTitle    = 128      // bytes of a group's title
	MaxPage     = 500      // entries of a page
	DefaultPage = 100      // entries of a page when none are named
	UnreadCap   = 1000     // unread messages are counted up to here

	maxConversationID = len("s:") + MaxID + len(":") + MaxID
)

// ConversationIndex is a place in a conversation chain: 1, 2, 3, … without gaps. 0 stands before the first.
type ConversationIndex uint64

// UserIndex is a place in a user chain: 1, 2, 3, … without gaps. 0 stands before the first.
type UserIndex uint64

// Scope is the kind of a Visibility.
type Scope uint8

const (
	Everyone Scope = iota // everyone who is in the conversation at the message's index
	Part                  // the sender and the named users
	Self                  // the sender alone
)

// Visibility says who of the members may see a message. Its sender always may.
type Visibility struct {
	Scope Scope
	Users []UserID // with Part
}

// Admits reports whether user, who is a member at the message's index, may see a message of sender.
func (v Visibility) Admits(sender, user UserID) bool {
	switch v.Scope {
	case Everyone:
		return true
	case Part:
		return user == sender || slices.Contains(v.Users, user)
	default:
		return user == sender
	}
}
