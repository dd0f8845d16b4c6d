package edge

import (
	"bytes"
	"encoding/binary"
	"math"

	"github.com/lxzan/gws"
)

const (
	maxControl = 125 // bytes of a control frame's payload
	length16   = 126 // in place of a length: two bytes of it follow
	length64   = 127 // in place of a length: eight bytes of it follow
	maskBytes  = 4
)

// frames takes what comes from a client, piece by piece, apart into WebSocket messages and control frames (RFC 6455, section
// 5). gws does so only for who gives it a goroutine that waits.
type frames struct {
	rest    []byte     // a frame that has not come in full
	message []byte     // the fragments of a message that have come
	opcode  gws.Opcode // of that message; OpcodeContinuation, which is 0: none is under way
}

// take calls f, in order, for each message and control frame that data completes, and with OpcodeContinuation for each
// fragment that is empty and completes nothing. A message has limit bytes at most. It returns 0, or the close code for a
// client that breaks the protocol, of whom nothing more is to be taken. It changes data and keeps nothing of it; f keeps
// nothing of payload.
func (d *frames) take(data []byte, limit int, f func(opcode gws.Opcode, payload []byte)) (code uint16) {
	joined := len(d.rest) > 0
	if joined {
		d.rest = append(d.rest, data...)
		data = d.rest
	}
	used := 0
	for used < len(data) {
		h, code := parseHeader(data[used:])
		if code != 0 {
			return code
		}
		if h.end > 0 && !isControl(h.opcode) && uint64(len(d.message))+h.size > uint64(limit) {
			return closeTooLarge
		}
		if end := uint64(used+h.end) + h.size; h.end == 0 || end > uint64(len(data)) {
			break
		}
		payload := data[used+h.end:][:h.size]
		unmask(payload, h.mask)
		used += h.end + int(h.size)
		if code := d.frame(h, payload, f); code != 0 {
			return code
		}
	}
	switch left := data[used:]; {
	case len(left) == 0:
		d.rest = nil
	case !joined || used > 0:
		d.rest = bytes.Clone(left)
	}
	return 0
}

// frame takes one frame.
func (d *frames) frame(h header, payload []byte, f func(opcode gws.Opcode, payload []byte)) (code uint16) {
	begun := d.opcode != gws.OpcodeContinuation
	switch {
	case isControl(h.opcode):
		f(h.opcode, payload)
	case begun != (h.opcode == gws.OpcodeContinuation): // a fragment that continues nothing, or a message within another
		return closeProtocolError
	case h.final && !begun:
		f(h.opcode, payload)
	case h.final:
		d.message = append(d.message, payload...)
		f(d.opcode, d.message)
		d.message, d.opcode = nil, gws.OpcodeContinuation
	default:
		if !begun {
			d.opcode = h.opcode
		}
		if d.message = append(d.message, payload...); len(payload) == 0 {
			f(gws.OpcodeContinuation, nil) // or a client could go on without end
		}
	}
	return 0
}

// header is that of a frame.
type header struct {
	final  bool
	opcode gws.Opcode
	size   uint64 // of the payload
	mask   uint32
	end    int // bytes of the header; 0: it has not come in full
}

func isControl(o gws.Opcode) bool { return o >= gws.OpcodeCloseConnection }

func isKnown(o gws.Opcode) bool {
	return o <= gws.OpcodeBinary || o >= gws.OpcodeCloseConnection && o <= gws.OpcodePong
}

// parseHeader reads the header that data begins with. No extension was agreed upon, and clients mask.
func parseHeader(data []byte) (h header, code uint16) {
	if len(data) < 2 {
		return header{}, 0
	}
	h = header{final: data[0]&0x80 != 0, opcode: gws.Opcode(data[0] & 0x0f), size: uint64(data[1] & 0x7f)}
	masked, extended := data[1]&0x80 != 0, data[0]&0x70 != 0
	if !masked || extended || !isKnown(h.opcode) || isControl(h.opcode) && (!h.final || h.size > maxControl) {
		return header{}, closeProtocolError
	}
	end := 2
	switch h.size {
	case length16:
		end += 2
	case length64:
		end += 8
	}
	if len(data) < end+maskBytes {
		return header{}, 0
	}
	switch h.size {
	case length16:
		h.size = uint64(binary.BigEndian.Uint16(data[2:]))
	case length64:
		h.size = binary.BigEndian.Uint64(data[2:])
		if h.size>>63 != 0 {
			return header{}, closeProtocolError
		}
	}
	h.mask, h.end = binary.LittleEndian.Uint32(data[end:]), end+maskBytes
	return h, 0
}

// unmask takes the mask off p, or puts it on.
func unmask(p []byte, mask uint32) {
	twice := uint64(mask)<<32 | uint64(mask)
	for ; len(p) >= 8; p = p[8:] {
		binary.LittleEndian.PutUint64(p, binary.LittleEndian.Uint64(p)^twice)
	}
	for i := range p {
		p[i] ^= byte(twice >> (8 * i))
	}
}

// appendWire appends a frame as a server writes it: a whole message, or a control frame.
func appendWire(b []byte, opcode gws.Opcode, payload []byte) []byte {
	const final = 0x80
	b = append(b, final|byte(opcode))
	switch n := len(payload); {
	case n < length16:
		b = append(b, byte(n))
	case n <= math.MaxUint16:
		b = binary.BigEndian.AppendUint16(append(b, length16), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, length64), uint64(n))
	}
	return append(b, payload...)
}

// closeAnswer is the code that answers a client's close frame (RFC 6455, section 7.4).
func closeAnswer(payload []byte) uint16 {
	if len(payload) == 0 {
		return closeNormal
	}
	if len(payload) == 1 {
		return closeProtocolError
	}
	switch code := binary.BigEndian.Uint16(payload); {
	case code >= 3000 && code < 5000:
		return code
	case code >= 1000 && code <= 1013 && (code < 1004 || code > 1006):
		return closeNormal
	}
	return closeProtocolError
}
