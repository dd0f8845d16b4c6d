package sequencer

import (
	"github.com/catena-im/catena/pkg/bus"
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

	targets  slab[imv1.Target]
	lists    slab[*imv1.Target]
	messages slab[imv1.Delivery]
}

// placed is a message and where it stands in user chains.
type placed struct {
	message []byte
	at      []userPlace
}

type edgeAnswer struct {
	edge   string
	answer *imv1.Answer
}

// outgoing is what goes to one edge, cut into batches of bounded size.
type outgoing struct {
	batches []*imv1.EdgeBatch
	bytes   int // of the last batch, about
	entry   int // number of the entry that the last delivery of the last batch is of; -1: of none
}

func newDeliveries(w *userWorker) *deliveries {
	return &deliveries{worker: w, edges: make(map[string]*outgoing)}
}

func (d *deliveries) deliver(message []byte, at []userPlace) {
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
			if err := publish(w.deps.Bus, bus.EdgeSubject(edge), b); err != nil {
				w.log.Warn("deliveries not sent; their clients pull", "edge", edge, "err", err)
			}
		}
	}
}

// route sorts by edge.
func (d *deliveries) route() {
	for _, a := range d.answers {
		b := d.to(a.edge).room(300)
		b.Answers = append(b.Answers, a.answer)
	}
	for n, e := range d.entries {
		for _, p := range e.at {
			d.worker.sessions.edgesOf(string(p.user), func(edge string) { d.target(edge, n, e, p) })
		}
	}
	for _, r := range d.reads {
		d.worker.sessions.edgesOf(r.GetUserId(), func(edge string) {
			b := d.to(edge).room(len(r.GetUserId()) + len(r.GetMoved().GetConversationId()) + 32)
			b.Reads = append(b.Reads, r)
		})
	}
}

// target names a user whom edge hands the message of the entry with this number.
func (d *deliveries) target(edge string, entry int, e placed, p userPlace) {
	t := d.targets.one()
	t.UserId, t.UserIndex = string(p.user), uint64(p.index)
	cost := len(t.GetUserId()) + 16
	o := d.to(edge)
	if o.entry != entry || o.bytes+cost > maxPayload {
		b, m := o.room(len(e.message)+16), d.messages.one()
		m.Message, m.Targets = e.message, d.lists.some(len(e.at))[:0]
		b.Deliveries = append(b.Deliveries, m)
		o.entry = entry
	}
	o.bytes += cost
	b := o.batches[len(o.batches)-1]
	last := b.GetDeliveries()[len(b.GetDeliveries())-1]
	last.Targets = append(last.Targets, t)
}

// to is what goes to edge.
func (d *deliveries) to(edge string) *outgoing {
	o := d.edges[edge]
	if o == nil {
		o = &outgoing{entry: -1}
		d.edges[edge] = o
	}
	return o
}

// room is the batch that takes n more bytes.
func (o *outgoing) room(n int) *imv1.EdgeBatch {
	if len(o.batches) == 0 || o.bytes+n > maxPayload {
		o.batches, o.bytes, o.entry = append(o.batches, new(imv1.EdgeBatch)), 0, -1
	}
	o.bytes += n
	return o.batches[len(o.batches)-1]
}
