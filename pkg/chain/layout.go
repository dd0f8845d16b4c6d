package chain

import (
	"context"
	"errors"
	"fmt"

	"github.com/catena-im/catena/pkg/kv"
)

// samples is how many conversations, and users, of each partition Verify looks at.
const samples = 4

// Misplaced says that a store was written under another layout: what it holds would not be found.
type Misplaced struct {
	Area Area   // of which the count of partitions does not fit; zero: there are keys that are not of this version
	Held int    // one more than the last partition of Area that holds a record: the count it was made with, once each was owned
	What string // what was found
}

func (m *Misplaced) Error() string { return m.What }

// Verify looks at whether the records of a store lie where l has them, a *Misplaced error if not. Records beyond the last
// partition, and those of no known area, are always found; else it looks at a few of each partition. A store in which all
// of them lie in their places serves l as well as the layout that it was written under.
func (l Layout) Verify(ctx context.Context, snap kv.Snapshot) error {
	err := l.verify(ctx, snap)
	misplaced, ok := errors.AsType[*Misplaced](err)
	if !ok || misplaced.Area == 0 {
		return err
	}
	last, err := firstKey(ctx, snap, kv.Range{Start: []byte{byte(misplaced.Area)}, End: end([]byte{byte(misplaced.Area)}), Reverse: true})
	if err != nil {
		return err
	}
	if k, err := DecodeKey(last); err == nil {
		misplaced.Held = k.Partition + 1
	}
	return misplaced
}

func (l Layout) verify(ctx context.Context, snap kv.Snapshot) error {
	conv, user := partitionKey(nil, Conv, l.ConvPartitions), partitionKey(nil, User, l.UserPartitions)
	for _, empty := range []struct {
		area Area
		kv.Range
	}{
		{0, kv.Range{End: []byte{areaConv}}},
		{Conv, kv.Range{Start: conv, End: end([]byte{areaConv})}},
		{0, kv.Range{Start: end([]byte{areaConv}), End: []byte{areaUser}}},
		{User, kv.Range{Start: user, End: end([]byte{areaUser})}},
		{0, kv.Range{Start: end([]byte{areaUser})}},
	} {
		if key, err := firstKey(ctx, snap, empty.Range); err != nil {
			return err
		} else if key != nil {
			return &Misplaced{Area: empty.area, What: fmt.Sprintf("the store holds %s", describe(key))}
		}
	}
	for n := range l.ConvPartitions {
		if err := l.sample(ctx, snap, prefix(nil, Conv, n, tagNamed)); err != nil {
			return err
		}
	}
	for n := range l.UserPartitions {
		if err := l.sample(ctx, snap, prefix(nil, User, n, tagOfUser)); err != nil {
			return err
		}
	}
	return nil
}

// sample looks at the first few conversations, or users, whose keys begin with p.
func (l Layout) sample(ctx context.Context, snap kv.Snapshot, p []byte) error {
	r := kv.Range{Start: p, End: end(p)}
	for range samples {
		key, err := firstKey(ctx, snap, r)
		if err != nil || key == nil {
			return err
		}
		k, err := DecodeKey(key)
		if err != nil {
			return &Misplaced{What: fmt.Sprintf("the store holds %s", describe(key))}
		}
		name, owner := string(k.Conversation), l.Conversation(k.Conversation)
		if k.Area == User {
			name, owner = string(k.User), l.User(k.User)
		}
		if k.Partition != owner {
			return &Misplaced{Area: k.Area, What: fmt.Sprintf("the store holds %s, which belongs into partition %d", describe(key), owner)}
		}
		r.Start = end(appendString(p[:len(p):len(p)], name))
	}
	return nil
}

// firstKey is the first key of r in its direction, nil when there is none.
func firstKey(ctx context.Context, snap kv.Snapshot, r kv.Range) (key []byte, err error) {
	r.Limit, r.KeysOnly = 1, true
	err = snap.Scan(ctx, r, func(k, _ []byte) error {
		key = append(key, k...)
		return nil
	})
	return key, err
}

// describe says what a key stands for, and names nobody.
func describe(key []byte) string {
	k, err := DecodeKey(key)
	if err != nil {
		return fmt.Sprintf("a key %x that this version does not know", key[:min(len(key), 8)])
	}
	return fmt.Sprintf("a record (%s) of %s partition %d", k.Record, k.Area, k.Partition)
}

// String is the name of the area's partitions.
func (a Area) String() string {
	if a == Conv {
		return "conversation"
	}
	return "user"
}
