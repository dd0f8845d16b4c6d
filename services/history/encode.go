package history

import (
	"encoding/binary"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	imv1 "github.com/catena-im/catena/proto/im/v1"
)

// The numbers of the fields that hold messages, and of the pages in im.v1.HistoryReply and in im.v1.ServerFrame.
const (
	replyConversationPage = 2
	replyUserPage         = 3
	replyConversationList = 4
	replyFrame            = 7
	frameID               = 1 // of ServerFrame
	serverFrames          = 1 // of ServerFrames

	pageMessages      = 2 // of ConversationPage
	userEntries       = 1 // of UserPage
	entryIndex        = 1 // of UserEntry
	entryMessage      = 2
	listConversations = 1 // of ConversationList
	summaryMessage    = 4 // of ConversationSummary
)

// pageShift is the number of a page in ServerFrame less that in HistoryReply.
const pageShift = 4

// page is the repeated field of an answer, encoded, while it is being filled. Messages go into it as the store holds
// them: taking them apart and putting them together again would cost more than all the rest of a pull.
type page struct {
	frame        *uint64 // id of the ServerFrame that it is to lie in; nil: in none
	limit, taken int
	data         []byte // behind headRoom, where reply puts what goes before the page
}

const headRoom = 4 * (1 + binary.MaxVarintLen64) // tag and length of page, frame and reply, and the frame's id

// newPage empties the page of v for up to limit entries.
func (v *view) newPage(limit int) *page {
	p := v.page
	p.limit, p.taken, p.data = limit, 0, append(p.data[:0], make([]byte, headRoom)...)
	return p
}

// add appends message as an entry under num, unless the page is full: with limit entries, or with maxPageBytes, which
// the first entry may exceed.
func (p *page) add(num protowire.Number, message []byte) bool {
	if !p.fits(len(message)) {
		return false
	}
	p.data = appendField(p.data, num, message)
	return true
}

// addWrapped appends an entry that consists of head, which is encoded, and of message under the field inner.
func (p *page) addWrapped(num protowire.Number, head []byte, inner protowire.Number, message []byte) bool {
	size := len(head) + protowire.SizeTag(inner) + protowire.SizeBytes(len(message))
	if !p.fits(size) {
		return false
	}
	p.data = protowire.AppendVarint(protowire.AppendTag(p.data, num, protowire.BytesType), uint64(size))
	p.data = appendField(append(p.data, head...), inner, message)
	return true
}

func (p *page) fits(size int) bool {
	if p.taken == p.limit || p.taken > 0 && len(p.data)+size > maxPageBytes {
		return false
	}
	p.taken++
	return true
}

func appendField(b []byte, num protowire.Number, content []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, num, protowire.BytesType), content)
}

// reply is the page as an encoded HistoryReply, under num or in a frame; rest is what the answer says besides its entries.
// It lies in the page.
func (p *page) reply(num protowire.Number, rest proto.Message) (_ []byte, err error) {
	if p.data, err = (proto.MarshalOptions{}).MarshalAppend(p.data, rest); err != nil {
		return nil, err
	}
	from := headRoom
	if p.frame == nil {
		return p.data[p.before(from, num):], nil
	}
	from = p.before(from, num+pageShift)
	id := protowire.AppendVarint(protowire.AppendTag(nil, frameID, protowire.VarintType), *p.frame)
	from -= copy(p.data[from-len(id):], id)
	from = p.before(from, serverFrames)
	return p.data[p.before(from, replyFrame):], nil
}

// before puts tag and length in front of what begins at from, and returns where they begin.
func (p *page) before(from int, num protowire.Number) int {
	var room [1 + binary.MaxVarintLen64]byte
	head := protowire.AppendVarint(protowire.AppendTag(room[:0], num, protowire.BytesType), uint64(len(p.data)-from))
	return from - copy(p.data[from-len(head):], head)
}

// errorReply is an encoded HistoryReply that refuses the pull.
func errorReply(e *imv1.Error) ([]byte, error) {
	return proto.Marshal(&imv1.HistoryReply{Body: &imv1.HistoryReply_Error{Error: e}})
}
