// Package link is the network between the processes of a development cluster: a TCP relay in the way from one to the
// other, whose links can be cut, made to lose what one side sends, or slowed down. It needs no rights and works on any
// system. A byte that was taken from one side is never dropped: what is lost for a while arrives when the link is
// healed, as TCP sends it again; a hole in a stream is nothing that a network makes. What it cannot do is to let a
// connection attempt fail silently: the system accepts it, and then nothing comes.
package link

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Link is the way from one process to a port of another.
type Link struct {
	From   string `json:"from"`   // who connects
	To     string `json:"to"`     // whom it reaches
	Listen string `json:"listen"` // host:port that From connects to
	Target string `json:"target"` // host:port of To
}

// Fault is what is done to a link. The zero Fault lets everything pass.
type Fault struct {
	Cut      bool          `json:"cut,omitempty"`       // connections are reset, those that are there and new ones
	LoseTo   bool          `json:"lose_to,omitempty"`   // what From sends does not arrive; nothing is closed
	LoseFrom bool          `json:"lose_from,omitempty"` // what To sends does not arrive; nothing is closed
	Delay    time.Duration `json:"delay,omitempty"`     // of every piece that is read, both ways; also bounds the rate to 64 KiB in that time
}

// String is the fault in a few words, from where From stands.
func (f Fault) String() string {
	var words []string
	switch {
	case f.Cut:
		words = append(words, "cut")
	case f.LoseTo && f.LoseFrom:
		words = append(words, "silent")
	case f.LoseTo:
		words = append(words, "loses what is sent")
	case f.LoseFrom:
		words = append(words, "loses what comes back")
	}
	if f.Delay > 0 {
		words = append(words, "delays "+f.Delay.String())
	}
	if len(words) == 0 {
		return "passes"
	}
	return strings.Join(words, ", ")
}

func (f Fault) validate() error {
	if f.Delay < 0 || f.Delay > time.Minute {
		return fmt.Errorf("a delay of %v: 0 to 1m", f.Delay)
	}
	return nil
}

// reverse is f seen from the other side.
func (f Fault) reverse() Fault {
	f.LoseTo, f.LoseFrom = f.LoseFrom, f.LoseTo
	return f
}

// State is a link with what is done to it.
type State struct {
	Link
	Fault Fault `json:"fault"`
}

// Between gives all links between a process of a and one of b a fault, seen from a, whoever of the two connects. It
// returns those links only, and an error when there is none.
func Between(links []Link, a, b []string, f Fault) ([]State, error) {
	var found []State
	for _, l := range links {
		switch {
		case slices.Contains(a, l.From) && slices.Contains(b, l.To):
			found = append(found, State{l, f})
		case slices.Contains(b, l.From) && slices.Contains(a, l.To):
			found = append(found, State{l, f.reverse()})
		}
	}
	if len(found) == 0 {
		return nil, errors.New("no link between " + strings.Join(a, ", ") + " and " + strings.Join(b, ", "))
	}
	return found, nil
}
