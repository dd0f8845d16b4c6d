package imv1

import (
	"fmt"
	"slices"
)

// Encoder is a message with its generated encoder, which makes the same bytes for the same message.
type Encoder interface {
	SizeVT() int
	MarshalToSizedBufferVT(b []byte) (int, error)
}

// Append adds the encoded m to b.
func Append(b []byte, m Encoder) []byte { return AppendSized(b, m, m.SizeVT()) }

// AppendSized is Append where the size of the encoded m in bytes is known.
func AppendSized(b []byte, m Encoder, size int) []byte {
	b = slices.Grow(b, size)[:len(b)+size]
	if _, err := m.MarshalToSizedBufferVT(b[len(b)-size:]); err != nil {
		panic(fmt.Sprintf("encode %T: %v", m, err)) // never: no message has required fields
	}
	return b
}
