package client

import (
	"crypto/rand"
	"errors"
	"fmt"

	imv1 "github.com/catena-im/catena/proto/im/v1"
	"google.golang.org/protobuf/proto"
)

// Outgoing is a message to send.
type Outgoing struct {
	ConversationID  string           // the conversation; or empty, with To
	To              string           // the other user of a single conversation, oneself for a notebook; or empty
	ClientMessageID string           // 1 to 64 bytes, unique per conversation and user; empty: one is made
	Type            imv1.MessageType // zero: what Body holds
	Body            *imv1.Body
	Visibility      *imv1.Visibility // nil: everyone in the conversation
}

// TextBody is the type and the body of a plain text message.
func TextBody(text string) (imv1.MessageType, *imv1.Body) {
	return imv1.MessageType_MESSAGE_TYPE_TEXT, &imv1.Body{Content: &imv1.Body_Text{Text: &imv1.TextBody{Text: text}}}
}

// wire is m as it is stored and sent. It shares nothing with m.
func (m Outgoing) wire() (*imv1.Send, error) {
	if (m.ConversationID == "") == (m.To == "") {
		return nil, errors.New("a message needs either ConversationID or To")
	}
	if m.Body == nil {
		return nil, errors.New("a message needs a Body")
	}
	if m.ClientMessageID == "" {
		m.ClientMessageID = newID()
	}
	if m.Type == imv1.MessageType_MESSAGE_TYPE_UNSPECIFIED {
		m.Type = typeOf(m.Body)
	}
	send := &imv1.Send{
		ConversationId: m.ConversationID, ToUserId: m.To, ClientMessageId: m.ClientMessageID,
		Type: m.Type, Body: m.Body, Visibility: m.Visibility,
	}
	if _, err := proto.Marshal(send); err != nil {
		return nil, fmt.Errorf("encode the message: %w", err)
	}
	return proto.CloneOf(send), nil
}

func outgoing(s *imv1.Send) Outgoing {
	return Outgoing{
		ConversationID: s.GetConversationId(), To: s.GetToUserId(), ClientMessageID: s.GetClientMessageId(),
		Type: s.GetType(), Body: s.GetBody(), Visibility: s.GetVisibility(),
	}
}

func newID() string { return rand.Text() }

func typeOf(b *imv1.Body) imv1.MessageType {
	switch b.GetContent().(type) {
	case *imv1.Body_Text:
		return imv1.MessageType_MESSAGE_TYPE_TEXT
	case *imv1.Body_Image:
		return imv1.MessageType_MESSAGE_TYPE_IMAGE
	case *imv1.Body_Audio:
		return imv1.MessageType_MESSAGE_TYPE_AUDIO
	case *imv1.Body_Video:
		return imv1.MessageType_MESSAGE_TYPE_VIDEO
	case *imv1.Body_File:
		return imv1.MessageType_MESSAGE_TYPE_FILE
	case *imv1.Body_Location:
		return imv1.MessageType_MESSAGE_TYPE_LOCATION
	case *imv1.Body_Custom:
		return imv1.MessageType_MESSAGE_TYPE_CUSTOM
	}
	return imv1.MessageType_MESSAGE_TYPE_UNSPECIFIED
}
