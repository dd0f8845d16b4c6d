// Package judge decides whether a run kept the laws. It takes a Record of what was asked, answered, pushed and finally
// pulled and returns a Verdict with evidence. It is pure: no clock, no I/O, no goroutine, and the Record is not
// changed. It trusts nothing the server says: who may see a message is worked out from the system messages of the
// chain, order and counts from the chains themselves.
package judge

import imv1 "github.com/catena-im/catena/proto/im/v1"

// Record is everything known about a run at its end. Messages in it may be shared between views and are not changed.
type Record struct {
	Run  string // what the ids of the run begin with
	Seed uint64

	Sends     []*Send    // those of one device in the order in which it queued them
	Commands  []*Command // membership commands
	Marks     []Mark     // read positions that were asked for
	Reads     []Read     // read positions that the server told
	Sightings []Sighting // messages seen while the run went on

	// What was pulled after everything had come to rest.
	Conversations []ConversationView // every conversation by every user who may and some who may not
	Users         []UserView         // one for each user
	Devices       []DeviceView       // one for each device on the SDK
	Lists         []ListView         // one for each device on the SDK
	Infos         []InfoView         // GetConversation
}

// Send is one ClientMessageID of one user in one conversation, however often it was sent.
type Send struct {
	User            string
	Device          string // empty when no order is promised, as it went over several connections at once
	Outbox          bool   // an SDK client promised to send it until it is answered
	Conversation    string
	ClientMessageID string
	Contents        []Content // what was sent under the id; more than one where the id was used twice on purpose
	Answers         []Answer
	Refusal         *imv1.Error // the final answer when the server did not take it
}

// Content is what a client asked to enter.
type Content struct {
	Type       imv1.MessageType
	Body       *imv1.Body
	Visibility *imv1.Visibility
}

// Answer is a Sent.
type Answer struct {
	Content        int  // index in Send.Contents of what this request carried
	Late           bool // asked when another answer was known already
	MessageID      string
	Conversation   string
	Index          uint64
	ServerTimeMs   int64
	Duplicate      bool
	ContentDiffers bool
}

// AnswerOf is the Answer that sent gives.
func AnswerOf(sent *imv1.Sent) Answer {
	return Answer{
		MessageID:      string(sent.GetMessageId()),
		Conversation:   sent.GetConversationId(),
		Index:          sent.GetConversationIndex(),
		ServerTimeMs:   sent.GetServerTimeMs(),
		Duplicate:      sent.GetDuplicate(),
		ContentDiffers: sent.GetContentDiffers(),
	}
}

// Command is a membership command.
type Command struct {
	User         string
	Conversation string // empty for a group whose creation was not answered
	Event        imv1.SystemEvent
	Users        []string // whom it names
	Title        string
	Answer       *Answer // nil when refused or not answered
}

// Mark is a read position that a device asked for.
type Mark struct {
	User, Conversation string
	Index              uint64
}

// Read is a read position that the server told a user, with the version of the list it belongs to.
type Read struct {
	User, Conversation string
	Index              uint64
	ListVersion        uint64
}

// Via tells how a message was seen.
type Via string

// The ways.
const (
	ViaPush Via = "push"
	ViaPull Via = "pull"
	ViaList Via = "conversation list"

	ViaUserChain Via = "user chain"
)

// Sighting is a message that was shown to a user while the run went on.
type Sighting struct {
	User      string
	Via       Via
	UserIndex uint64 // 0 when it was not shown as an entry of the user chain
	Message   *imv1.Message
}

// ConversationView is a conversation chain as one user pulled it from its beginning.
type ConversationView struct {
	User, Conversation string
	Messages           []*imv1.Message // in the order of the pages
	Head               uint64          // head_index of the last page
	Refusal            imv1.ErrorCode  // instead of the others
}

// Entry is an entry of a user chain. There are many of them in a record, so they are small.
type Entry struct {
	UserIndex uint64
	Message   *imv1.Message
}

// UserView is a user chain, pulled from 1.
type UserView struct {
	User    string
	Entries []Entry    // in the order of the pages
	Head    *imv1.Head // of the last page
}

// DeviceView is what a device on the SDK got as events.
type DeviceView struct {
	User, Device string
	Applied      []Entry           // in the order of the events
	Reads        map[string]uint64 // the read positions it was told, by conversation; nil when that was not watched
}

// ListView is the conversation list as one device got it.
type ListView struct {
	User, Device string
	Summaries    []*imv1.ConversationSummary
}

// InfoView is what GetConversation told one user.
type InfoView struct {
	User, Conversation string
	Info               *imv1.Conversation
	Refusal            imv1.ErrorCode // instead of Info
}
