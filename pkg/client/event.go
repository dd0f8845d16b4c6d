package client

import (
	"time"

	imv1 "github.com/catena-im/catena/proto/im/v1"
)

// Event is what Config.OnEvent gets: one of the structs of this file. What an event points to belongs to the receiver
// but may be shared with the Store, so it must not be changed.
type Event interface{ event() }

// Connected: the session is open.
type Connected struct {
	Session string     // the server's name of the session, for logs
	User    string     // the user whom the token names
	Head    *imv1.Head // where the user's chain and list stood
}

// Disconnected: the connection ended or could not be made. Unless Run returns, the client tries again.
type Disconnected struct {
	Err error // why; nil when Run was told to end
}

// MessageReceived: a new entry of the user chain, own messages included. Each comes once, in the order of UserIndex.
type MessageReceived struct {
	UserIndex uint64
	Message   *imv1.Message
}

// Skipped: the server no longer keeps the entries From to To of the user chain, so they are passed over.
type Skipped struct{ From, To uint64 }

// SendDone: a queued message is in its conversation chain.
type SendDone struct {
	Outgoing Outgoing
	Sent     *imv1.Sent
}

// SendFailed: a queued message was refused for good and is out of the outbox; those queued behind it go on.
type SendFailed struct {
	Outgoing Outgoing
	Err      error // an *Error
}

// ReadMoved: another device of the user moved a read position.
type ReadMoved struct {
	ConversationID string
	ReadIndex      uint64 // everything up to this index is read
	ListVersion    uint64
}

// ListChanged: read positions moved without this device having been told each; call Conversations.
type ListChanged struct{ ListVersion uint64 }

// GoingAway: the server asks its clients to connect again; the client does so by itself.
type GoingAway struct {
	Reason string
	Within time.Duration // the client waits a random time up to this
}

// SyncProgress: a part of a gap was pulled.
type SyncProgress struct {
	Have uint64 // last UserIndex without gaps
	Head uint64 // last UserIndex known to exist
}

func (Connected) event()       {}
func (Disconnected) event()    {}
func (MessageReceived) event() {}
func (Skipped) event()         {}
func (SendDone) event()        {}
func (SendFailed) event()      {}
func (ReadMoved) event()       {}
func (ListChanged) event()     {}
func (GoingAway) event()       {}
func (SyncProgress) event()    {}
