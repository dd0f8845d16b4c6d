package edge

import (
	"google.golang.org/protobuf/encoding/protowire"
)

// maxJoined is how large a WebSocket message may grow by joining frames, in bytes; one larger frame goes alone.
const maxJoined = 64 << 10

// answerReserve is what answers may fill beyond the bound that pushes keep, in bytes: one for each request that may be
// pending, and some more.
const answerReserve = 128 << 10

// outbox is what waits for one client to read it. Frames stand in it as in ServerFrames, each with tag and length; for
// a JSON session the content is the JSON text. The owner holds its session's lock.
type outbox struct {
	limit                   int     // bytes that pushes may fill
	spares                  *spares // where buffers come from
	waiting                 []byte  // not taken by the flusher yet; nil: nothing waits
	flight                  int     // bytes that the flusher writes now
	pageWaiting, pageFlight int     // bytes of a page within waiting and flight; pages are bounded by their number
	gap                     bool    // pushes were dropped; none are taken until the client was told
	pong                    []byte  // answer to the last WebSocket ping; nil: none is owed
}

func (o *outbox) queued() int { return len(o.waiting) + o.flight - o.pageWaiting - o.pageFlight }

// addPush adds an encoded frame, which is spare afterwards, unless it does not fit or others were dropped before it.
func (o *outbox) addPush(frame []byte) bool {
	if !o.roomForPush(len(frame)) {
		return false
	}
	o.add(frame)
	return true
}

func (o *outbox) roomForPush(bytes int) bool {
	if o.gap || o.queued()+bytes > o.limit {
		o.gap = true
	}
	return !o.gap
}

// addAnswer adds an encoded frame, which is spare afterwards; false: the client is too slow to be told.
func (o *outbox) addAnswer(frame []byte) bool {
	if o.queued()+len(frame) > o.limit+answerReserve {
		return false
	}
	o.add(frame)
	return true
}

// addPage adds the encoded answer to a pull, as entry makes it. It is called only when the outbox holds none, and takes
// the page over: large as it is, it is not copied where nothing else waits.
func (o *outbox) addPage(entry []byte) {
	if o.waiting == nil {
		o.waiting = entry
	} else {
		o.waiting = append(o.waiting, entry...)
	}
	o.pageWaiting = len(entry)
}

// entry makes the head of a frame of so many bytes as it stands in an outbox, with room for the frame behind it.
func entry(size int) []byte {
	b := make([]byte, 0, protowire.SizeTag(1)+protowire.SizeBytes(size))
	return protowire.AppendVarint(protowire.AppendTag(b, 1, protowire.BytesType), uint64(size))
}

func (o *outbox) holdsPage() bool { return o.pageWaiting > 0 || o.pageFlight > 0 }

func (o *outbox) add(frame []byte) {
	o.waiting = protowire.AppendBytes(protowire.AppendTag(o.buffer(), 1, protowire.BytesType), frame)
	o.spares.put(frame)
}

// buffer returns what waits, for a frame to be appended.
func (o *outbox) buffer() []byte {
	if o.waiting == nil {
		return o.spares.get()
	}
	return o.waiting
}

// take hands everything that waits to the flusher, which calls sent when it is through. The slice is the flusher's.
func (o *outbox) take() []byte {
	taken := o.waiting
	o.waiting, o.flight = nil, len(taken)
	o.pageFlight, o.pageWaiting = o.pageWaiting, 0
	return taken
}

// sent notes that what was taken is written; it reports whether the place of a page became free.
func (o *outbox) sent() (pageFree bool) {
	pageFree = o.pageFlight > 0
	o.flight, o.pageFlight = 0, 0
	return pageFree
}

// nextJoined cuts the ServerFrames message to write next off a chunk.
func nextJoined(chunk []byte) (message, rest []byte) {
	end := 0
	for end < len(chunk) {
		_, _, n := protowire.ConsumeField(chunk[end:])
		if n < 0 {
			return chunk, nil
		}
		if end > 0 && end+n > maxJoined {
			break
		}
		end += n
	}
	return chunk[:end], chunk[end:]
}

// nextSingle cuts the one frame to write next off a chunk, without tag and length.
func nextSingle(chunk []byte) (message, rest []byte) {
	_, _, tag := protowire.ConsumeTag(chunk)
	content, n := protowire.ConsumeBytes(chunk[max(tag, 0):])
	if tag < 0 || n < 0 {
		return nil, nil
	}
	return content, chunk[tag+n:]
}
