package main

import (
	"context"
	"fmt"
	"testing"
)

// TestAMessageTakesFewStreamMessages counts what the streams took, each of which is an fsync. A message that comes alone
// costs most: one command, and fan-out to the partitions of its users, of which a conversation of two has two at most.
func TestAMessageTakesFewStreamMessages(t *testing.T) {
	t.Parallel()
	s := launch(t, anywhere(t))
	alice, _ := login(t, s.site, "alice", "phone", speakBinary)
	count := func() uint64 {
		n, err := streamed(context.Background(), s.run.NATSURL)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := count() // nothing is under way: the fan-out of a message may come after its answer
	const messages = 100
	for i := range messages {
		alice.sent(say("bob", fmt.Sprint("m", i), "hello"))
	}
	if took := count() - before; took > 3*messages {
		t.Errorf("%d messages took %d of the streams, more than 3 each", messages, took)
	}
}
