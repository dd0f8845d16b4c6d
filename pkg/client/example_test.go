package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/catena-im/catena/pkg/client"
	imv1 "github.com/catena-im/catena/proto/im/v1"
	"github.com/coder/websocket"
	"google.golang.org/protobuf/proto"
)

// Alice connects, sends bob a message and sees it arrive in her own chain, as on each of her devices.
func Example() {
	server := httptest.NewServer(http.HandlerFunc(serve)) // with a real server: ws://127.0.0.1:7300/ws
	defer server.Close()

	connected := make(chan client.Connected, 1)
	received := make(chan client.MessageReceived, 1)
	alice, err := client.New(client.Config{
		URL:    "ws" + strings.TrimPrefix(server.URL, "http") + "/ws",
		Device: "laptop",
		Token:  func(context.Context) (string, error) { return "alice's token", nil },
		// Store: with sqlite.Open the outbox and the position survive a restart.
		OnEvent: func(e client.Event) {
			switch e := e.(type) {
			case client.Connected:
				connected <- e
			case client.MessageReceived:
				received <- e
			}
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- alice.Run(ctx) }()
	fmt.Println("connected as", (<-connected).User)

	kind, body := client.TextBody("hello, bob")
	sent, err := alice.Send(ctx, client.Outgoing{To: "bob", Type: kind, Body: body})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("sent: message %d of %s\n", sent.GetConversationIndex(), sent.GetConversationId())
	m := <-received
	fmt.Printf("received: entry %d, %s\n", m.UserIndex, m.Message.GetBody().GetText().GetText())

	cancel()
	if err := <-ended; err != nil {
		log.Fatal(err)
	}
	// Output:
	// connected as alice
	// sent: message 1 of s:alice:bob
	// received: entry 1, hello, bob
}

// A message that was queued while there is no way to the server is taken back.
func ExampleClient_Withdraw() {
	alice, err := client.New(client.Config{
		URL:    "wss://im.example/ws",
		Device: "laptop",
		Token:  func(context.Context) (string, error) { return "alice's token", nil },
	})
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	kind, body := client.TextBody("meet me at noon")
	id, err := alice.Enqueue(ctx, client.Outgoing{To: "bob", Type: kind, Body: body})
	if err != nil {
		log.Fatal(err)
	}
	doubt, err := alice.Withdraw(ctx, client.Outgoing{To: "bob", ClientMessageID: id})
	switch {
	case errors.Is(err, client.ErrNotQueued):
		fmt.Println("too late: SendDone or SendFailed tells what became of it")
	case err != nil:
		log.Fatal(err)
	case doubt:
		fmt.Println("withdrawn; it had been sent before, so bob may see it all the same")
	default:
		fmt.Println("withdrawn; bob never sees it")
	}
	// Output:
	// withdrawn; bob never sees it
}

// serve is a server of one user and one message.
func serve(w http.ResponseWriter, r *http.Request) {
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"catena.v1"}})
	if err != nil {
		return
	}
	defer conn.CloseNow()
	for {
		_, data, err := conn.Read(r.Context())
		if err != nil {
			return
		}
		var in imv1.ClientFrames
		if err := proto.Unmarshal(data, &in); err != nil {
			return
		}
		var out imv1.ServerFrames
		for _, f := range in.GetFrames() {
			out.Frames = append(out.Frames, answer(f)...)
		}
		if data, err = proto.Marshal(&out); err != nil {
			return
		}
		if err := conn.Write(r.Context(), websocket.MessageBinary, data); err != nil {
			return
		}
	}
}

func answer(f *imv1.ClientFrame) []*imv1.ServerFrame {
	switch body := f.GetBody().(type) {
	case *imv1.ClientFrame_Connect:
		return []*imv1.ServerFrame{{Id: f.GetId(), Body: &imv1.ServerFrame_Connected{Connected: &imv1.Connected{
			UserId: "alice", Head: &imv1.Head{},
		}}}}
	case *imv1.ClientFrame_Send:
		m := &imv1.Message{
			ClientMessageId: body.Send.GetClientMessageId(), ConversationId: "s:alice:bob", ConversationIndex: 1,
			SenderId: "alice", ReceiverId: "bob", Type: body.Send.GetType(), Body: body.Send.GetBody(),
		}
		return []*imv1.ServerFrame{
			{Id: f.GetId(), Body: &imv1.ServerFrame_Sent{Sent: &imv1.Sent{ConversationId: m.ConversationId, ConversationIndex: 1}}},
			{Body: &imv1.ServerFrame_Push{Push: &imv1.Push{Entry: &imv1.UserEntry{UserIndex: 1, Message: m}}}},
		}
	}
	return nil
}
