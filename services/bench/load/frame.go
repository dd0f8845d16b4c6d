package load

import (
	"errors"
	"math/rand/v2"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"

	imv1 "github.com/catena-im/catena/proto/im/v1"
)

// The numbers of the fields that the hot path reads and writes itself; im/v1/frame.proto and message.proto name them.
const (
	fieldFrames = 1 // ClientFrames.frames, ServerFrames.frames

	fieldID   = 1 // of both frames
	fieldSend = 4 // ClientFrame.send

	fieldConversation = 1 // Send
	fieldToUser       = 2
	fieldClientID     = 3
	fieldType         = 4
	fieldBody         = 5
	fieldAfter        = 7
	fieldText         = 1 // Body.text, TextBody.text

	fieldError            = 2 // ServerFrame
	fieldSent             = 5
	fieldConversationPage = 6
	fieldUserPage         = 7
	fieldPush             = 11

	fieldMessages     = 2 // ConversationPage
	fieldMoreMessages = 4
	fieldEntries      = 1 // UserPage
	fieldMoreEntries  = 3

	fieldCode            = 1 // Error
	fieldEntry           = 1 // Push
	fieldUserIndex       = 1 // UserEntry
	fieldMessage         = 2
	fieldMessageClientID = 2 // Message
	fieldMessageIndex    = 4
)

// outgoing is a message to be encoded.
type outgoing struct {
	conversation, to string // one of the two
	number           uint64 // the request's id; the client message id is made from it
	after            uint64 // the number of the message before it that is not answered; 0: none
	text             string
}

const idLength = 16 // of a client message id: the number in hexadecimal

// appendSend appends a ClientFrames message with one Send.
func appendSend(b []byte, o *outgoing) []byte {
	text := protowire.SizeTag(fieldText) + protowire.SizeBytes(len(o.text))
	body := protowire.SizeTag(fieldText) + protowire.SizeBytes(text)
	send := sizeString(fieldConversation, o.conversation) + sizeString(fieldToUser, o.to) +
		protowire.SizeTag(fieldClientID) + protowire.SizeBytes(idLength) +
		protowire.SizeTag(fieldType) + protowire.SizeVarint(uint64(imv1.MessageType_MESSAGE_TYPE_TEXT)) +
		protowire.SizeTag(fieldBody) + protowire.SizeBytes(body)
	if o.after != 0 {
		send += protowire.SizeTag(fieldAfter) + protowire.SizeBytes(idLength)
	}
	frame := protowire.SizeTag(fieldID) + protowire.SizeVarint(o.number) + protowire.SizeTag(fieldSend) + protowire.SizeBytes(send)

	b = appendLength(b, fieldFrames, frame)
	b = protowire.AppendVarint(protowire.AppendTag(b, fieldID, protowire.VarintType), o.number)
	b = appendLength(b, fieldSend, send)
	b = appendString(b, fieldConversation, o.conversation)
	b = appendString(b, fieldToUser, o.to)
	b = appendID(appendLength(b, fieldClientID, idLength), o.number)
	b = protowire.AppendVarint(protowire.AppendTag(b, fieldType, protowire.VarintType), uint64(imv1.MessageType_MESSAGE_TYPE_TEXT))
	b = appendLength(b, fieldBody, body)
	b = appendLength(b, fieldText, text)
	b = appendString(b, fieldText, o.text)
	if o.after != 0 {
		b = appendID(appendLength(b, fieldAfter, idLength), o.after)
	}
	return b
}

func sizeString(field protowire.Number, s string) int {
	if s == "" {
		return 0
	}
	return protowire.SizeTag(field) + protowire.SizeBytes(len(s))
}

func appendString(b []byte, field protowire.Number, s string) []byte {
	if s == "" {
		return b
	}
	return protowire.AppendString(protowire.AppendTag(b, field, protowire.BytesType), s)
}

func appendLength(b []byte, field protowire.Number, n int) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.BytesType), uint64(n))
}

func appendID(b []byte, n uint64) []byte {
	const digits = "0123456789abcdef"
	for shift := 60; shift >= 0; shift -= 4 {
		b = append(b, digits[n>>shift&15])
	}
	return b
}

func parseID(id []byte) (n uint64, ok bool) {
	if len(id) != idLength {
		return 0, false
	}
	n, err := strconv.ParseUint(string(id), 16, 64)
	return n, err == nil
}

// frame is what the hot path wants of a ServerFrame. Its bytes are valid until the next message is read.
type frame struct {
	id   uint64
	kind protowire.Number // field of the body
	raw  []byte           // the encoded ServerFrame

	userIndex uint64         // of a push
	number    uint64         // of the pushed message; 0: none of ours
	code      imv1.ErrorCode // of an error
}

var errMalformed = errors.New("the server sent what is not an encoded im.v1.ServerFrames")

// nextFrame cuts the first frame off a ServerFrames message.
func nextFrame(data []byte) (f frame, rest []byte, err error) {
	_, value, n := field(data)
	if n < 0 {
		return f, nil, errMalformed
	}
	f.raw = value
	for raw := value; len(raw) > 0; {
		number, value, n := field(raw)
		if n < 0 {
			return f, nil, errMalformed
		}
		raw = raw[n:]
		switch number {
		case fieldID:
			f.id, _ = protowire.ConsumeVarint(value)
			continue
		case fieldError:
			code, _ := protowire.ConsumeVarint(find(value, fieldCode))
			f.code = imv1.ErrorCode(code)
		case fieldPush:
			entry := find(value, fieldEntry)
			f.userIndex, _ = protowire.ConsumeVarint(find(entry, fieldUserIndex))
			f.number, _ = parseID(find(find(entry, fieldMessage), fieldMessageClientID))
		}
		f.kind = number
	}
	return f, data[n:], nil
}

// field reads the first field of an encoded message: its content, without the length, and its size in b, which is
// negative when it is malformed.
func field(b []byte) (number protowire.Number, value []byte, size int) {
	number, kind, n := protowire.ConsumeTag(b)
	if n < 0 {
		return 0, nil, n
	}
	if kind == protowire.BytesType {
		value, m := protowire.ConsumeBytes(b[n:])
		if m < 0 {
			return 0, nil, m
		}
		return number, value, n + m
	}
	m := protowire.ConsumeFieldValue(number, kind, b[n:])
	if m < 0 {
		return 0, nil, m
	}
	return number, b[n : n+m], n + m
}

// find is the content of the first field with this number, nil when there is none.
func find(b []byte, number protowire.Number) []byte {
	for len(b) > 0 {
		got, value, n := field(b)
		switch {
		case n < 0:
			return nil
		case got == number:
			return value
		}
		b = b[n:]
	}
	return nil
}

// page is what was pulled: a page of either chain.
type page struct {
	entries int
	bytes   int    // of the messages
	last    uint64 // index
	more    bool
}

// readPage counts a page without decoding what is in it.
func readPage(f *frame) (p page) {
	body := find(f.raw, f.kind)
	list, index, more := protowire.Number(fieldMessages), protowire.Number(fieldMessageIndex), protowire.Number(fieldMoreMessages)
	if f.kind == fieldUserPage {
		list, index, more = fieldEntries, fieldUserIndex, fieldMoreEntries
	}
	for len(body) > 0 {
		number, value, n := field(body)
		if n < 0 {
			return p
		}
		switch body = body[n:]; number {
		case list:
			p.entries++
			p.last, _ = protowire.ConsumeVarint(find(value, index))
			if f.kind == fieldUserPage {
				value = find(value, fieldMessage)
			}
			p.bytes += len(value)
		case more:
			v, _ := protowire.ConsumeVarint(value)
			p.more = v != 0
		}
	}
	return p
}

// textPool is how many different places a body may be cut from.
const textPool = 64 << 10

// babble is n bytes of text that compresses about as badly as people's words do.
func babble(n int) string {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 -"
	source := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, n)
	for i := range b {
		b[i] = letters[source.IntN(len(letters))]
	}
	return string(b)
}

// body is the text of a message.
func (b *Bench) body(number uint64) string {
	at := int(number * 7919 % textPool)
	return b.text[at : at+b.Body]
}
