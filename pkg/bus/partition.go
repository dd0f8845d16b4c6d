package bus

import (
	"fmt"
	"strings"
	"unicode"
)

// Kind tells the two kinds of partition apart.
type Kind uint8

const (
	Conv Kind = iota + 1 // partitions of conversations
	User                 // partitions of users
)

func (k Kind) String() string {
	switch k {
	case Conv:
		return "conv"
	case User:
		return "user"
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// Partition names one partition, its stream and its lease.
type Partition struct {
	Kind   Kind
	Number int // from 0
}

// String is the partition's name in logs and its key in im_owners, such as "conv.003".
func (p Partition) String() string { return fmt.Sprintf("%s.%03d", p.Kind, p.Number) }

// Stream is the name of the partition's stream, such as "IM_CONV_003".
func (p Partition) Stream() string {
	return fmt.Sprintf("IM_%s_%03d", strings.ToUpper(p.Kind.String()), p.Number)
}

// Consumer is the one durable consumer of every partition's stream.
const Consumer = "seq"

// Names of the two buckets.
const (
	ClusterBucket = "im_cluster" // what the cluster was provisioned for
	OwnersBucket  = "im_owners"  // leases
)

// Subject names where core messages go, apart from the cell, which the bus fills in. The zero value is invalid.
type Subject struct{ tail string }

// EdgeSubject reaches one edge. The id must be one subject token.
func EdgeSubject(edge string) Subject {
	if !validToken(edge) {
		return Subject{}
	}
	return Subject{"edge." + edge}
}

// SessionSubject reaches the owner of user partition q.
func SessionSubject(q int) Subject { return Subject{fmt.Sprintf("session.%d", q)} }

// AnnounceSubject reaches all edges.
func AnnounceSubject() Subject { return Subject{"announce"} }

// HistorySubject reaches one of the history services.
func HistorySubject() Subject { return Subject{"history.pull"} }

func (b *Bus) subject(s Subject) (string, error) {
	if s.tail == "" {
		return "", fmt.Errorf("%w: empty subject, or an edge id that is not one subject token", ErrInvalid)
	}
	return "im." + b.cell + "." + s.tail, nil
}

func (b *Bus) streamSubject(p Partition) string { return streamSubject(b.cell, p) }

func streamSubject(cell string, p Partition) string {
	return fmt.Sprintf("im.%s.%s.%d", cell, p.Kind, p.Number)
}

func validToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return strings.ContainsRune(".*>", r) || unicode.IsSpace(r) || !unicode.IsPrint(r)
	})
}
