package client

import (
	"context"
	"testing"

	imv1 "github.com/catena-im/catena/proto/im/v1"
)

// indexes are the user indexes of the messages told.
func indexes(events []Event) (out []uint64) {
	for _, m := range of[MessageReceived](events) {
		out = append(out, m.UserIndex)
	}
	return out
}

func upTo(n uint64) (out []uint64) {
	for i := uint64(1); i <= n; i++ {
		out = append(out, i)
	}
	return out
}

func told(n uint64) func([]Event) bool {
	return func(events []Event) bool { return uint64(len(of[MessageReceived](events))) >= n }
}

func TestSendWaitsForTheAnswer(t *testing.T) {
	for _, json := range []bool{false, true} {
		bubble(t, func(t *testing.T, f *fake) {
			cfg := f.config()
			cfg.JSON = json
			c, _ := f.start(cfg)
			result := make(chan *imv1.Sent, 1)
			go func() {
				sent, err := c.Send(context.Background(), text("bob", "m1"))
				if err != nil {
					t.Error(err)
				}
				result <- sent
			}()
			p := f.login(0)
			frame := p.next()
			if got := frame.GetSend(); got.GetToUserId() != "bob" || got.GetClientMessageId() != "m1" || got.GetAfter() != "" {
				t.Errorf("got %v", got)
			}
			p.sent(frame, 7)
			if sent := <-result; sent.GetConversationIndex() != 7 {
				t.Errorf("got index %d, want 7", sent.GetConversationIndex())
			}
			f.await(func(e []Event) bool { return len(of[SendDone](e)) == 1 })
		})
	}
}
