package client

import (
	"errors"
	"fmt"

	imv1 "github.com/catena-im/catena/proto/im/v1"
	"github.com/coder/websocket"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// A codec turns frames into WebSocket messages and back.
type codec struct {
	subprotocol string
	kind        websocket.MessageType
	encode      func(*imv1.ClientFrame) ([]byte, error)
	join        func(message, frame []byte) []byte // appends an encoded frame to a message
	joined      int                                // most frames of one message
	decode      func([]byte) ([]*imv1.ServerFrame, error)
}

// maxJoined is the most frames that the protocol allows in one binary message.
const maxJoined = 64

var binaryCodec = codec{
	subprotocol: "catena.v1",
	kind:        websocket.MessageBinary,
	encode:      func(f *imv1.ClientFrame) ([]byte, error) { return proto.Marshal(f) },
	join: func(message, frame []byte) []byte {
		message = protowire.AppendTag(message, 1, protowire.BytesType) // ClientFrames.frames
		return protowire.AppendBytes(message, frame)
	},
	joined: maxJoined,
	decode: func(data []byte) ([]*imv1.ServerFrame, error) {
		var frames imv1.ServerFrames
		err := proto.Unmarshal(data, &frames)
		return frames.GetFrames(), err
	},
}

var jsonCodec = codec{
	subprotocol: "catena.v1.json",
	kind:        websocket.MessageText,
	encode:      func(f *imv1.ClientFrame) ([]byte, error) { return protojson.Marshal(f) },
	join:        func(message, frame []byte) []byte { return append(message, frame...) },
	joined:      1,
	decode: func(data []byte) ([]*imv1.ServerFrame, error) {
		var frame imv1.ServerFrame
		err := protojson.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(data, &frame)
		return []*imv1.ServerFrame{&frame}, err
	},
}

// size is the size of a message that holds only this frame, in bytes.
func (c *codec) size(frame []byte) int {
	if c.joined == 1 {
		return len(frame)
	}
	return protowire.SizeTag(1) + protowire.SizeBytes(len(frame))
}

func (c *codec) read(kind websocket.MessageType, data []byte) ([]*imv1.ServerFrame, error) {
	if kind != c.kind {
		return nil, errors.New("the server sent text in a binary session or the other way round")
	}
	frames, err := c.decode(data)
	if err != nil {
		return nil, fmt.Errorf("decode a frame of the server: %w", err)
	}
	return frames, nil
}
