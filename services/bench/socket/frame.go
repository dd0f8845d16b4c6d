package socket

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// The opcodes of frames.
const (
	opContinue = 0x0
	opText     = 0x1
	opBinary   = 0x2
	opClose    = 0x8
	opPing     = 0x9
	opPong     = 0xA
)

// appendFrame appends a whole message as a client writes it: masked with key.
func appendFrame(b []byte, opcode byte, key uint32, payload []byte) []byte {
	b = append(b, 0x80|opcode)
	switch n := len(payload); {
	case n <= 125:
		b = append(b, 0x80|byte(n))
	case n < 1<<16:
		b = append(b, 0x80|126)
		b = binary.BigEndian.AppendUint16(b, uint16(n))
	default:
		b = append(b, 0x80|127)
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	b = binary.LittleEndian.AppendUint32(b, key)
	start := len(b)
	b = append(b, payload...)
	mask(b[start:], key)
	return b
}

// mask applies the masking key, eight bytes at a time.
func mask(b []byte, key uint32) {
	wide := uint64(key)<<32 | uint64(key)
	for len(b) >= 8 {
		binary.LittleEndian.PutUint64(b, binary.LittleEndian.Uint64(b)^wide)
		b = b[8:]
	}
	for i := range b {
		b[i] ^= byte(key >> (8 * i % 32))
	}
}

var errTooLarge = fmt.Errorf("a message of the server has more than %d bytes", maxMessage)

// frame is one frame of the server.
type frame struct {
	opcode  byte
	last    bool
	payload []byte // valid until the next frame is read
}

// parse reads a frame. Its size is 0 while that is not known; the payload is set when b holds it all.
func parse(b []byte) (f frame, size int, err error) {
	if len(b) < 2 {
		return f, 0, nil
	}
	f.opcode, f.last = b[0]&0x0F, b[0]&0x80 != 0
	if b[0]&0x70 != 0 || b[1]&0x80 != 0 {
		return f, 0, errors.New("the server sent a masked frame, or one of an extension that was not asked for")
	}
	head, n := 2, uint64(b[1])
	switch {
	case n == 126 && len(b) >= 4:
		head, n = 4, uint64(binary.BigEndian.Uint16(b[2:]))
	case n == 127 && len(b) >= 10:
		head, n = 10, binary.BigEndian.Uint64(b[2:])
	case n >= 126:
		return f, 0, nil
	}
	if n > maxMessage {
		return f, 0, errTooLarge
	}
	size = head + int(n)
	if len(b) >= size {
		f.payload = b[head:size]
	}
	return f, size, nil
}
