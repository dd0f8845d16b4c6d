package edge

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/lxzan/gws"
	"pgregory.net/rapid"
)

// wireFrame is a client's frame as it stands on the wire.
func wireFrame(final bool, opcode gws.Opcode, payload []byte, mask uint32) []byte {
	b := []byte{byte(opcode), 0x80}
	if final {
		b[0] |= 0x80
	}
	switch n := len(payload); {
	case n <= 125:
		b[1] |= byte(n)
	case n < 1<<16:
		b[1] |= 126
		b = binary.BigEndian.AppendUint16(b, uint16(n))
	default:
		b[1] |= 127
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	b = binary.LittleEndian.AppendUint32(b, mask)
	key := b[len(b)-4:]
	for i, x := range payload {
		b = append(b, x^key[i%4])
	}
	return b
}

// said is a message or a control frame of a client.
type said struct {
	opcode  gws.Opcode
	payload []byte
}

func (s said) String() string { return fmt.Sprintf("%d:%d bytes", s.opcode, len(s.payload)) }

// listen returns what frames makes of pieces, and how it ended.
func listen(pieces [][]byte, limit int) (got []said, code uint16) {
	var d frames
	for _, p := range pieces {
		p = bytes.Clone(p)
		code = d.take(p, limit, func(o gws.Opcode, payload []byte) {
			if o != gws.OpcodeContinuation {
				got = append(got, said{o, bytes.Clone(payload)})
			}
		})
		clear(p)
		if code != 0 {
			return got, code
		}
	}
	return got, 0
}

// cut cuts b into pieces.
func cut(t *rapid.T, b []byte) (pieces [][]byte) {
	most := rapid.SampledFrom([]int{1, 3, 100, 1 << 20}).Draw(t, "piece")
	for len(b) > 0 {
		n := min(len(b), rapid.IntRange(1, most).Draw(t, "n"))
		pieces, b = append(pieces, b[:n]), b[n:]
	}
	return pieces
}

// However what a client says is divided into fragments, with control frames between them, and arrives in pieces, it is
// heard as it was said.
func TestFramesAreHeardAsTheyWereSaid(t *testing.T) {
	const limit = 70_000
	rapid.Check(t, func(t *rapid.T) {
		noise := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		content := func(size int) []byte {
			b := make([]byte, size)
			for i := range b {
				b[i] = byte(noise.Uint32())
			}
			return b
		}
		var wire []byte
		var want []said
		control := func() {
			s := said{rapid.SampledFrom([]gws.Opcode{gws.OpcodePing, gws.OpcodePong}).Draw(t, "control"), content(noise.IntN(126))}
			wire, want = append(wire, wireFrame(true, s.opcode, s.payload, noise.Uint32())...), append(want, s)
		}
		for range rapid.IntRange(1, 5).Draw(t, "messages") {
			size := rapid.SampledFrom([]int{0, 1, 125, 126, 4000, 65_535, 65_536, limit}).Draw(t, "size")
			s := said{rapid.SampledFrom([]gws.Opcode{gws.OpcodeText, gws.OpcodeBinary}).Draw(t, "message"), content(size)}
			opcode, rest := s.opcode, s.payload
			for more := rapid.IntRange(0, 3).Draw(t, "fragments"); ; more-- {
				n := len(rest)
				if more > 0 {
					n = noise.IntN(n + 1)
				}
				if more == 0 {
					want = append(want, s)
				}
				wire = append(wire, wireFrame(more == 0, opcode, rest[:n], noise.Uint32())...)
				opcode, rest = gws.OpcodeContinuation, rest[n:]
				if more == 0 {
					break
				}
				if rapid.Bool().Draw(t, "between") {
					control()
				}
			}
		}
		got, code := listen(cut(t, wire), limit)
		if code != 0 || !slices.EqualFunc(got, want, func(a, b said) bool { return a.opcode == b.opcode && bytes.Equal(a.payload, b.payload) }) {
			t.Fatalf("heard %v, code %d\nsaid %v", got, code, want)
		}
	})
}

// Whatever comes, and in whatever pieces, ends in the same way, and nothing is kept beyond what a message may hold.
func FuzzFrames(f *testing.F) {
	const limit = 300
	for _, seed := range [][]byte{
		wireFrame(true, gws.OpcodeBinary, []byte("hello"), 7),
		append(wireFrame(false, gws.OpcodeText, []byte("hel"), 1), wireFrame(true, gws.OpcodeContinuation, []byte("lo"), 2)...),
		append(wireFrame(true, gws.OpcodePing, nil, 0), wireFrame(true, gws.OpcodeCloseConnection, []byte{3, 232}, 9)...),
		wireFrame(true, gws.OpcodeBinary, make([]byte, limit+1), 7),
		{0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0},
		{0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0},
		{0x82, 0xfe, 0, 5, 0, 0, 0, 0, 1},
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		whole, code := listen([][]byte{data}, limit)
		bytewise, bytewiseCode := listen(slices.Collect(slices.Chunk(data, 1)), limit)
		if fmt.Sprint(whole, code) != fmt.Sprint(bytewise, bytewiseCode) {
			t.Errorf("at once %v %d, byte by byte %v %d", whole, code, bytewise, bytewiseCode)
		}
		for _, s := range whole {
			if len(s.payload) > limit || isControl(s.opcode) && len(s.payload) > maxControl {
				t.Errorf("%v is too long", s)
			}
		}
		var d frames
		for _, x := range data {
			if d.take([]byte{x}, limit, func(gws.Opcode, []byte) {}) != 0 {
				break
			}
			if len(d.rest) > limit+14 || len(d.message) > limit {
				t.Fatalf("%d and %d bytes are kept", len(d.rest), len(d.message))
			}
		}
	})
}

func TestMessagesHaveABound(t *testing.T) {
	const limit = 1000
	half := make([]byte, limit/2)
	for name, tc := range map[string]struct {
		wire [][]byte
		code uint16
	}{
		"as large as may be":   {[][]byte{wireFrame(true, gws.OpcodeBinary, make([]byte, limit), 1)}, 0},
		"larger":               {[][]byte{wireFrame(true, gws.OpcodeBinary, make([]byte, limit+1), 1)}, closeTooLarge},
		"larger, only claimed": {[][]byte{wireFrame(true, gws.OpcodeBinary, make([]byte, limit+1), 1)[:8]}, closeTooLarge},
		"two halves":           {[][]byte{wireFrame(false, gws.OpcodeText, half, 1), wireFrame(true, gws.OpcodeContinuation, half, 1)}, 0},
		"three halves": {[][]byte{wireFrame(false, gws.OpcodeText, half, 1), wireFrame(false, gws.OpcodeContinuation, half, 1),
			wireFrame(true, gws.OpcodeContinuation, half, 1)}, closeTooLarge},
		"a ping within": {[][]byte{wireFrame(false, gws.OpcodeText, make([]byte, limit), 1), wireFrame(true, gws.OpcodePing, half[:125], 1),
			wireFrame(true, gws.OpcodeContinuation, nil, 1)}, 0},
		"a ping too long": {[][]byte{wireFrame(true, gws.OpcodePing, half[:126], 1)}, closeProtocolError},
	} {
		if _, code := listen(tc.wire, limit); code != tc.code {
			t.Errorf("%s: got %d, want %d", name, code, tc.code)
		}
	}
}

func TestFramesAreWrittenWithTheShortestLength(t *testing.T) {
	for size, header := range map[int]string{
		0: "\x82\x00", 125: "\x82\x7d", 126: "\x82\x7e\x00\x7e", 65535: "\x82\x7e\xff\xff", 65536: "\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00",
	} {
		payload := bytes.Repeat([]byte{7}, size)
		got := appendWire([]byte("before"), gws.OpcodeBinary, payload)
		if want := "before" + header + string(payload); string(got) != want {
			t.Errorf("%d bytes: got the header %x, want %x", size, got[6:min(16, len(got))], header)
		}
	}
}

func TestCloseFramesAreAnsweredInKind(t *testing.T) {
	for code, want := range map[uint16]uint16{
		1000: 1000, 1001: 1000, 1003: 1000, 1011: 1000, 3000: 3000, 4999: 4999,
		0: 1002, 999: 1002, 1004: 1002, 1005: 1002, 1006: 1002, 1015: 1002, 2999: 1002, 5000: 1002,
	} {
		if got := closeAnswer(binary.BigEndian.AppendUint16(nil, code)); got != want {
			t.Errorf("%d is answered with %d, want %d", code, got, want)
		}
	}
	if got := closeAnswer(nil); got != closeNormal {
		t.Errorf("a close frame without a code is answered with %d", got)
	}
	if got := closeAnswer([]byte{3}); got != closeProtocolError {
		t.Errorf("half a code is answered with %d", got)
	}
}

// BenchmarkFrames takes messages of 250 bytes that come one by one.
func BenchmarkFrames(b *testing.B) {
	wire := wireFrame(true, gws.OpcodeBinary, make([]byte, 250), 0x12345678)
	var d frames
	b.ReportAllocs()
	for b.Loop() {
		if d.take(wire, 1<<10, func(gws.Opcode, []byte) {}) != 0 {
			b.Fatal("refused")
		}
	}
}
