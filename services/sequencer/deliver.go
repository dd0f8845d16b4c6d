package sequencer

import (
	"github.com/catena-im/catena/pkg/bus"
	"github.com/catena-im/catena/pkg/chain"
	imv1 "github.com/catena-im/catena/proto/im/v1"
)

// deliveries gathers what a user step has to say. Which edges hear it is looked up after the commit: an edge that
// registers a user reads the head after it is in the table, so every entry is either below that head or delivered.
type deliveries struct {
	worker  *userWorker
	entries []placed // for all users, whether they have a session or not
	reads   []*imv1.ReadDelivery
	answers []edgeAnswer
	edges   map[string]*outgoing // filled by send
}

// placed is a message and where it stands in user chains.
type placed struct {
	message []byte
	at      []chain.UserPlace
}

type edgeAnswer struct {
	edge   string
	answer *imv1.Answer
}

// outgoing is what goes to one edge, cut into batches of bounded size.
type outgoing struct {
	batches []*imv1.EdgeBatch
	bytes   int // of the last batch, about
}

func newDeliveries(w *userWorker) *deliveries {
	return &deliveries{worker: w, edges: make(map[string]*outgoing)}
}

func (d *deliveries) deliver(message []byte, at []chain.UserPlace) {
	d.entries = append(d.entries, placed{message, at})
}

func (d *deliveries) moved(user string, m *imv1.ReadMoved) {
	d.reads = append(d.reads, &imv1.ReadDelivery{UserId: user, Moved: m})
}

func (d *deliveries) answer(edge string, a *imv1.Answer) {
	d.answers = append(d.answers, edgeAnswer{edge, a})
}

// send hands everything over, one core message per edge unless it is too large. The lane number lets an edge notice
// that one of its batches was lost.
func (d *deliveries) send() {
	w := d.worker
	d.route()
	for edge, o := range d.edges {
		for _, b := range o.batches {
			if len(b.GetDeliveries())+len(b.GetReads()) > 0 {
				b.UserPartition, b.Epoch, b.LaneSequence = uint32(w.part.Number), w.epoch, w.sessions.nextLane(edge)
			}
			if err := w.deps.Bus.Publish(bus.EdgeSubject(edge), marshal(b)); err != nil {
				w.log.Warn("deliveries not sent; their clients pull", "edge", edge, "err", err)
			}
		}
	}
}

// route sorts by edge.
func (d *deliveries) route() {
	for _, a := range d.answers {
		b := d.room(a.edge, 300)
		b.Answers = append(b.Answers, a.answer)
	}
	byEdge := make(map[string]*imv1.Delivery)
	for _, e := range d.entries {
		clear(byEdge)
		for _, p := range e.at {
			t := (*imv1.Target)(nil)
			d.worker.sessions.edgesOf(string(p.User), func(edge string) {
				if t == nil {
					t = &imv1.Target{UserId: string(p.User), UserIndex: uint64(p.Index)}
				}
				if byEdge[edge] == nil {
					byEdge[edge] = &imv1.Delivery{Message: e.message}
				}
				byEdge[edge].Targets = append(byEdge[edge].Targets, t)
			})
		}
		for edge, delivery := range byEdge {
			n := len(delivery.GetMessage()) + 16
			for _, t := range delivery.GetTargets() {
				n += len(t.GetUserId()) + 16
			}
			b := d.room(edge, n)
			b.Deliveries = append(b.Deliveries, delivery)
		}
	}
	for _, r := range d.reads {
		d.worker.sessions.edgesOf(r.GetUserId(), func(edge string) {
			b := d.room(edge, len(r.GetUserId())+len(r.GetMoved().GetConversationId())+32)
			b.Reads = append(b.Reads, r)
		})
	}
}

// room is the batch for edge that takes n more bytes.
func (d *deliveries) room(edge string, n int) *imv1.EdgeBatch {
	o := d.edges[edge]
	if o == nil {
		o = new(outgoing)
		d.edges[edge] = o
	}
	if len(o.batches) == 0 || o.bytes+n > maxPayload {
		o.batches, o.bytes = append(o.batches, new(imv1.EdgeBatch)), 0
	}
	o.bytes += n
	return o.batches[len(o.batches)-1]
}
