// Package chat is the interactive client: it shows a user's conversations, history and new messages, and takes lines
// and slash commands. What is to be shown and asked is decided by a state without I/O; Run moves lines, events and
// answers between it, the screen and the server. It keeps nothing: what is sent is in the outbox of the SDK.
package chat

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"time"

	"github.com/catena-im/catena/pkg/client"
)

// Screen is where lines come from and go to.
type Screen interface {
	// ReadLine blocks for a line. After an error, io.EOF at the end, it is not called again.
	ReadLine() (string, error)
	// Print shows lines above the one that is being written.
	Print(lines ...string)
	// Prompt sets what stands before the line that is being written.
	Prompt(text string)
}

// Config says whose chat it is.
type Config struct {
	Me   string // the user
	With string // what to open first: a user, a conversation id or a title; empty: nothing
}

// answerTimeout bounds every request; a chat without a connection tells so instead of hanging.
const answerTimeout = 15 * time.Second

// Run chats until the user quits, the lines end or ctx does. At the end of lines it waits, at most answerTimeout, until
// what was asked and sent is answered, so that a script may pipe lines in. events are those of the client, the first
// Connected among them. The goroutine that reads lines ends with the next line or the process, as reading has no other
// way to be stopped.
func Run(ctx context.Context, cfg Config, screen Screen, server Server, events <-chan client.Event) error {
	ctx, cancel := context.WithCancel(ctx)
	r := runner{
		state: newState(cfg.Me, cfg.With, rand.Text), screen: screen, server: server,
		answers: make(chan answer, 1), lines: make(chan string),
	}
	r.print([]string{"* /help shows what you can do, /quit leaves"})
	go r.read(ctx)
	err := r.loop(ctx, events)
	cancel()
	if r.busy {
		<-r.answers
	}
	return err
}

type runner struct {
	state   *state
	screen  Screen
	server  Server
	answers chan answer // holds the one of the request that is under way
	busy    bool        // a request is under way
	current request     // which, while busy
	lines   chan string // closed at the end of lines
	ended   bool        // lines have ended
	prompt  string      // as it is shown
}

func (r *runner) read(ctx context.Context) {
	defer close(r.lines)
	for {
		line, err := r.screen.ReadLine()
		if err != nil {
			return
		}
		select {
		case r.lines <- line:
		case <-ctx.Done():
			return
		}
	}
}

func (r *runner) loop(ctx context.Context, events <-chan client.Event) error {
	var patience <-chan time.Time // runs out after the end of lines
	for !r.finished() {
		r.state.view.Now = time.Now()
		lines := r.lines
		if r.occupied() {
			lines = nil
		}
		select {
		case line, ok := <-lines:
			if !ok {
				r.ended, r.lines = true, nil
				patience = time.After(answerTimeout)
				break
			}
			r.print(r.state.line(line))
		case e := <-events:
			r.print(r.state.event(e))
		case a := <-r.answers:
			r.busy = false
			r.print(a(r.state))
		case <-patience:
			if n := len(r.state.pending); n > 0 {
				return fmt.Errorf("%d messages were not answered; they are kept in the outbox and sent with the next command of this device", n)
			}
			return nil
		case <-ctx.Done():
			return nil
		}
		r.send(ctx)
		r.next(ctx)
	}
	return nil
}

// occupied reports whether the next line must wait: what it says may be about what is just being opened.
func (r *runner) occupied() bool {
	return !r.state.listed || r.busy && !background(r.current) ||
		slices.ContainsFunc(r.state.requests, func(q request) bool { return !background(q) })
}

// finished reports whether nothing is left to do after the user said so or the lines ended.
func (r *runner) finished() bool {
	return r.state.quit || r.ended && r.state.listed && !r.busy && len(r.state.requests) == 0 && len(r.state.pending) == 0
}

func (r *runner) print(lines []string) {
	prompt := r.state.prompt()
	if len(lines) == 0 && prompt == r.prompt {
		return
	}
	r.prompt = prompt
	r.screen.Prompt(prompt)
	r.screen.Print(lines...)
}

// send puts what the user wrote into the outbox, which is local and does not wait for the server.
func (r *runner) send(ctx context.Context) {
	for _, m := range r.state.outbox {
		if _, err := r.server.Enqueue(ctx, m); err != nil {
			delete(r.state.pending, m.ClientMessageID)
			r.print([]string{fmt.Sprintf("! not sent: %v", err)})
		}
	}
	r.state.outbox = nil
}

// next starts the next request, one at a time: they are answered in the order in which they were asked.
func (r *runner) next(ctx context.Context) {
	if r.busy || len(r.state.requests) == 0 {
		return
	}
	q := r.state.requests[0]
	r.state.requests = r.state.requests[1:]
	r.busy, r.current = true, q
	go func() { // Run takes the answer before it returns
		ctx, cancel := context.WithTimeout(ctx, answerTimeout)
		defer cancel()
		r.answers <- q.do(ctx, r.server)
	}()
}
