package client

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	imv1 "github.com/catena-im/catena/proto/im/v1"
)

var rewrite = flag.Bool("rewrite", false, "write what the scripts under testdata print back into them")

// runScripts runs each script of a folder. A line is a command; the lines behind it that begin with two blanks are what
// the command prints. begin makes the state of a script and returns what runs one command.
func runScripts(t *testing.T, folder string, begin func() func(command string, args []string) []string) {
	files, err := filepath.Glob(filepath.Join("testdata", folder, "*.txt"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts in %s: %v", folder, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := play(string(want), begin())
			if *rewrite {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != string(want) {
				t.Errorf("%s played differently; it printed:\n%s", file, got)
			}
		})
	}
}

func play(script string, run func(string, []string) []string) string {
	var out strings.Builder
	for line := range strings.Lines(script) {
		if strings.HasPrefix(line, "  ") {
			continue
		}
		out.WriteString(line)
		words := strings.Fields(line)
		if len(words) == 0 || words[0] == "#" {
			continue
		}
		for _, printed := range run(words[0], words[1:]) {
			out.WriteString("  " + printed + "\n")
		}
	}
	return out.String()
}

var scriptBackoff = backoff{time.Second, 4 * time.Second}

// clock is a script's time; it starts at 0.
type clock struct{ now time.Time }

func newClock() clock { return clock{time.Unix(0, 0)} }

func (c *clock) wait(d string) {
	t, err := time.ParseDuration(d)
	if err != nil {
		panic(err)
	}
	c.now = c.now.Add(t)
}

func (c *clock) until(at time.Time) string {
	if at.IsZero() {
		return "never"
	}
	return "in " + at.Sub(c.now).String()
}

func number(s string) uint64 {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		panic(err)
	}
	return n
}

// refusalOf reads a code, "again" or "for-good" and perhaps a duration to wait.
func refusalOf(args []string) *Error {
	e := &Error{Code: imv1.ErrorCode(imv1.ErrorCode_value["ERROR_CODE_"+args[0]]), Retryable: args[1] == "again"}
	if len(args) > 2 {
		e.RetryAfter, _ = time.ParseDuration(args[2])
	}
	return e
}

func TestOutboxScripts(t *testing.T) {
	runScripts(t, "outbox", func() func(string, []string) []string {
		o := newOutbox(3, 10*time.Second, scriptBackoff)
		clock := newClock()
		var seq, id uint64
		return func(command string, args []string) (out []string) {
			switch command {
			case "connect":
				o.connected(args[0])
			case "disconnect":
				o.disconnected()
			case "queue": // CONVERSATION or @USER, MESSAGE...
				for _, m := range args[1:] {
					seq++
					send := &imv1.Send{ConversationId: args[0], ClientMessageId: m}
					if to, ok := strings.CutPrefix(args[0], "@"); ok {
						send.ConversationId, send.ToUserId = "", to
					}
					o.add(Queued{seq, send})
				}
			case "send":
				for s := o.next(id+1, clock.now); s != nil; s = o.next(id+1, clock.now) {
					id++
					line := fmt.Sprintf("%d: %s%s %s", id, s.GetConversationId(), s.GetToUserId(), s.GetClientMessageId())
					if s.GetAfter() != "" {
						line += " after " + s.GetAfter()
					}
					out = append(out, line)
				}
			case "sent": // ID
				if it := o.accepted(number(args[0])); it != nil {
					out = append(out, "done "+it.Send.GetClientMessageId())
				}
			case "refused": // ID CODE again|for-good [WAIT]
				if it := o.refused(number(args[0]), refusalOf(args[1:]), clock.now, 1); it != nil {
					out = append(out, "dropped "+it.Send.GetClientMessageId())
				}
			case "wait": // DURATION
				clock.wait(args[0])
				if o.expire(clock.now) {
					out = append(out, "stuck")
				}
			case "due":
				out = append(out, clock.until(o.deadline(clock.now)))
			default:
				out = append(out, "unknown command")
			}
			return out
		}
	})
}

func TestChainScripts(t *testing.T) {
	runScripts(t, "chain", func() func(string, []string) []string {
		c := newChain(10*time.Second, scriptBackoff)
		c.page = 4
		clock := newClock()
		var id uint64
		return func(command string, args []string) (out []string) {
			switch command {
			case "connect", "head": // HEAD OLDEST
				h := &imv1.Head{UserIndex: number(args[0]), OldestUserIndex: number(args[1])}
				if command == "head" {
					return steps(c.tell(h))
				}
				got, err := c.connected(h)
				if err != nil {
					return []string{err.Error()}
				}
				return steps(got)
			case "disconnect":
				c.disconnected()
			case "room": // N
				c.room = int(number(args[0]))
			case "told": // N
				return steps(c.released(int(number(args[0]))))
			case "push": // INDEX...
				for _, i := range args {
					out = append(out, steps(c.push(entry(number(i))))...)
				}
			case "pull":
				if p := c.next(id+1, clock.now); p != nil {
					id++
					to := "head"
					if p.ToIndex != nil {
						to = fmt.Sprint(p.GetToIndex())
					}
					out = append(out, fmt.Sprintf("%d: %d to %s, %d at most", id, p.GetFromIndex(), to, p.GetLimit()))
				}
			case "page": // ID FROM TO HEAD OLDEST
				p := &imv1.UserPage{Head: &imv1.Head{UserIndex: number(args[3]), OldestUserIndex: number(args[4])}}
				for i := number(args[1]); i <= number(args[2]); i++ {
					p.Entries = append(p.Entries, entry(i))
				}
				return steps(c.paged(number(args[0]), p, clock.now, 1))
			case "failed": // ID
				c.failed(number(args[0]), 0, clock.now, 1)
			case "wait": // DURATION
				clock.wait(args[0])
				if c.expire(clock.now) {
					out = append(out, "stuck")
				}
			case "due":
				out = append(out, clock.until(c.deadline(clock.now)))
			case "moved": // VERSION
				news, missed := c.moved(number(args[0]))
				out = append(out, fmt.Sprintf("news %v, missed %v", news, missed))
			default:
				out = append(out, "unknown command")
			}
			return out
		}
	})
}

func steps(all []advance) (out []string) {
	for _, a := range all {
		if a.entry != nil {
			out = append(out, fmt.Sprintf("take %d", a.entry.GetUserIndex()))
		} else {
			out = append(out, fmt.Sprintf("skip %d to %d", a.from, a.to))
		}
	}
	return out
}
