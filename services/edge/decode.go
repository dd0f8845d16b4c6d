package edge

import (
	"encoding/json"
	"strconv"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/catena-im/catena/pkg/refusal"
	imv1 "github.com/catena-im/catena/proto/im/v1"
)

// maxFrames is the most frames of one WebSocket message.
const maxFrames = 64

// A received frame: what was decoded, or why it could not be. With an error the id is 0 when it is not known.
type received struct {
	id    uint64
	frame *imv1.ClientFrame
	err   error
}

// decode calls f for each frame of a WebSocket message, in order. It keeps nothing of data.
func decode(json bool, data []byte, f func(received)) {
	if json {
		f(decodeJSON(data))
		return
	}
	decodeBinary(data, f)
}

func decodeBinary(data []byte, f func(received)) {
	var room [4][]byte // most messages hold one frame
	frames, err := splitFrames(room[:0], data)
	if err != nil {
		f(received{err: err})
		return
	}
	for _, raw := range frames {
		frame := new(imv1.ClientFrame)
		if err := (proto.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(raw, frame); err != nil {
			f(received{id: frameID(raw), err: refuseFrame(raw)})
			continue
		}
		f(received{id: frame.GetId(), frame: frame})
	}
}

// splitFrames appends the frames of a ClientFrames message, so that one bad frame does not spoil the others.
func splitFrames(frames [][]byte, data []byte) ([][]byte, error) {
	for len(data) > 0 {
		num, typ, n := protowire.ConsumeTag(data)
		if n < 0 {
			return nil, malformed("the message is not an encoded im.v1.ClientFrames")
		}
		data = data[n:]
		if num != 1 || typ != protowire.BytesType {
			if n = protowire.ConsumeFieldValue(num, typ, data); n < 0 {
				return nil, malformed("the message is not an encoded im.v1.ClientFrames")
			}
			data = data[n:]
			continue
		}
		raw, n := protowire.ConsumeBytes(data)
		if n < 0 {
			return nil, malformed("the message is not an encoded im.v1.ClientFrames: it ends within a frame")
		}
		if len(frames) == maxFrames {
			return nil, malformed("the message holds more than %d frames; send the others in another message", maxFrames)
		}
		frames, data = append(frames, raw), data[n:]
	}
	if len(frames) == 0 {
		return nil, malformed("the message holds no frame; a binary message is an encoded im.v1.ClientFrames")
	}
	return frames, nil
}

// frameID reads the id of a frame that could not be decoded, as far as it can.
func frameID(raw []byte) uint64 {
	for len(raw) > 0 {
		num, typ, n := protowire.ConsumeTag(raw)
		if n < 0 {
			return 0
		}
		raw = raw[n:]
		if num == 1 && typ == protowire.VarintType {
			if id, n := protowire.ConsumeVarint(raw); n > 0 {
				return id
			}
			return 0
		}
		if n = protowire.ConsumeFieldValue(num, typ, raw); n < 0 {
			return 0
		}
		raw = raw[n:]
	}
	return 0
}

// refuseFrame says why a frame could not be decoded: mostly because a string of it is not UTF-8.
func refuseFrame(raw []byte) error {
	path := findBadString((*imv1.ClientFrame)(nil).ProtoReflect().Descriptor(), raw)
	switch {
	case path == "":
		return malformed("the frame is not an encoded im.v1.ClientFrame")
	case strings.HasSuffix(path, "_id"), strings.HasSuffix(path, "_ids"), strings.HasSuffix(path, ".after"):
		return refusal.New(imv1.ErrorCode_ERROR_CODE_INVALID_ID, "%s is not UTF-8; encode it as UTF-8", path)
	case strings.Contains(path, ".body."):
		return refusal.New(imv1.ErrorCode_ERROR_CODE_INVALID_BODY, "%s is not UTF-8; encode it as UTF-8", path)
	}
	return refusal.New(imv1.ErrorCode_ERROR_CODE_INVALID_ARGUMENT, "%s is not UTF-8; encode it as UTF-8", path)
}

// findBadString returns the path of the first string of an encoded message that is not UTF-8, or "".
func findBadString(d protoreflect.MessageDescriptor, raw []byte) string {
	for len(raw) > 0 {
		num, typ, n := protowire.ConsumeTag(raw)
		if n < 0 {
			return ""
		}
		raw = raw[n:]
		if n = protowire.ConsumeFieldValue(num, typ, raw); n < 0 {
			return ""
		}
		value := raw[:n]
		raw = raw[n:]
		field := d.Fields().ByNumber(num)
		if field == nil || typ != protowire.BytesType {
			continue
		}
		content, _ := protowire.ConsumeBytes(value)
		switch field.Kind() {
		case protoreflect.StringKind:
			if !utf8.Valid(content) {
				return string(field.Name())
			}
		case protoreflect.MessageKind:
			if path := findBadString(field.Message(), content); path != "" {
				return string(field.Name()) + "." + path
			}
		}
	}
	return ""
}

func decodeJSON(data []byte) received {
	frame := new(imv1.ClientFrame)
	err := protojson.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(data, frame)
	if err == nil {
		return received{id: frame.GetId(), frame: frame}
	}
	// The text of protojson varies on purpose between a blank and a no-break space.
	text := strings.TrimPrefix(strings.ReplaceAll(err.Error(), "\u00a0", " "), "proto: ")
	var named struct {
		ID json.RawMessage `json:"id"`
	}
	_ = json.Unmarshal(data, &named) // what is not JSON has no id
	id, _ := strconv.ParseUint(strings.Trim(string(named.ID), `"`), 10, 64)
	return received{id: id, err: malformed("the message is not an im.v1.ClientFrame in JSON: %s", text)}
}

func malformed(format string, args ...any) error {
	return refusal.New(imv1.ErrorCode_ERROR_CODE_MALFORMED_FRAME, format, args...)
}
