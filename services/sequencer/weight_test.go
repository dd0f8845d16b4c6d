package sequencer

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/catena-im/catena/pkg/bus"
	"github.com/catena-im/catena/pkg/chain"
	"github.com/catena-im/catena/pkg/im"
	"github.com/catena-im/catena/pkg/kv"
	imv1 "github.com/catena-im/catena/proto/im/v1"
)

// name is a user id of n bytes.
func name(i, n int) string {
	s := fmt.Sprintf("%d", i)
	return strings.Repeat("u", max(n-len(s), 0)) + s
}

func names(from, count, n int) (out []string) {
	for i := range count {
		out = append(out, name(from+i, n))
	}
	return out
}

// bring appends commands to the stream in batches as large as a payload may be.
func bring(c *cell, commands ...*imv1.Command) {
	p := bus.Partition{Kind: bus.Conv}
	b, size := &imv1.CommandBatch{EdgeId: "e1"}, 100
	flush := func() {
		if payload := marshal(b); len(payload) <= bus.MaxPayload {
			c.append(p, fmt.Sprint(len(c.streams[p])), payload)
		} else {
			c.violate("the test made a payload of %d bytes", len(payload))
		}
		b, size = &imv1.CommandBatch{EdgeId: "e1"}, 100
	}
	for _, cmd := range commands {
		n := proto.Size(cmd) + 8
		if size+n > bus.MaxPayload {
			flush()
		}
		b.Commands = append(b.Commands, cmd)
		size += n
	}
	flush()
}

func create(owner, cm, title string, members []string) *imv1.Command {
	return &imv1.Command{
		UserId: owner, ConversationId: string(im.Group(im.UserID(owner), im.ClientMessageID(cm))), Session: 1 << 40, RequestId: 1 << 40,
		Action: &imv1.Command_CreateGroup{CreateGroup: &imv1.CreateGroup{ClientMessageId: cm, Title: title, MemberIds: members}},
	}
}

func send(user, conversation, cm string, body int, vis *imv1.Visibility) *imv1.Command {
	return &imv1.Command{UserId: user, ConversationId: conversation, Action: &imv1.Command_Send{Send: &imv1.Send{
		ClientMessageId: cm, Type: imv1.MessageType_MESSAGE_TYPE_TEXT, Visibility: vis,
		Body: &imv1.Body{Content: &imv1.Body_Text{Text: &imv1.TextBody{Text: strings.Repeat("x", body)}}},
	}}}
}

// Nobody can send what does not fit into a commit or a message: the partition would stand still for good.
func TestHostileBatchesFitIntoCommitsAndMessages(t *testing.T) {
	full := im.MaxBody - 8
	many := func(n int, f func(i int) *imv1.Command) (out []*imv1.Command) {
		for i := range n {
			out = append(out, f(i))
		}
		return out
	}
	for what, commands := range map[string][]*imv1.Command{
		"large groups, short names": many(200, func(i int) *imv1.Command { return create("o", name(i, 1), "t", names(0, 499, 5)) }),
		"large groups, long names":  many(60, func(i int) *imv1.Command { return create("o", name(i, 64), name(i, 128), names(0, 499, 64)) }),
		"small groups, long names":  many(3000, func(i int) *imv1.Command { return create(name(i, 64), name(i, 64), name(i, 128), nil) }),
		"small groups, short names": many(5000, func(i int) *imv1.Command { return create("o", name(i, 1), "t", nil) }),
		"large bodies": many(40, func(i int) *imv1.Command {
			return send(name(i, 64), string(im.Single(im.UserID(name(i, 64)), im.UserID(name(i+1, 64)))), name(i, 64), full, nil)
		}),
		"tiny bodies": many(6_000, func(i int) *imv1.Command { return send("a", "s:a:b", name(i, 1), 1, nil) }),
		"tiny bodies, long names": many(4000, func(i int) *imv1.Command {
			return send(name(i, 64), string(im.Single(im.UserID(name(i, 64)), im.UserID(name(i+1, 64)))), name(i, 64), 1, nil)
		}),
		"refusals with long texts": many(4000, func(i int) *imv1.Command {
			c := send(name(i, 64), string(im.Single(im.UserID(name(i, 64)), im.UserID(name(i+1, 64)))), name(i, 64), 1, nil)
			c.GetSend().After = strings.Repeat(`"`, 64)
			return c
		}),
		"messages for many, with large bodies": append(
			[]*imv1.Command{create(name(0, 64), "g", "t", names(0, 500, 64))},
			many(30, func(i int) *imv1.Command {
				g := string(im.Group(im.UserID(name(0, 64)), "g"))
				return send(name(i, 64), g, name(i, 64), full, &imv1.Visibility{
					Scope: imv1.VisibilityScope_VISIBILITY_SCOPE_PART, UserIds: names(0, 500, 64),
				})
			})...),
		"members who come and go": append(
			many(2, func(i int) *imv1.Command { return create("o", name(i, 64), "t", names(0, 499, 64)) }),
			comeAndGo(2, 34)...),
		"parts that are too large": {
			send("a", "s:a:b", "1", im.MaxBody+1, nil), send("a", "s:a:b", "2", 900_000, nil), send("a", "s:a:b", "", 1, nil),
			send(name(1, 3000), "s:a:b", "1", 1, nil), send("a", "s:a:b", name(1, 900_000), 1, nil),
			send("a", "s:a:b", "3", 1, &imv1.Visibility{Scope: 2, UserIds: names(0, 10_000, 64)}),
			send("a", "s:a:b", "3", 1, &imv1.Visibility{Scope: 2, UserIds: names(0, 1, 5000)}),
			create("a", "1", name(0, 500_000), nil), create("a", "1", "t", names(0, 9000, 64)), create("a", "1", "t", names(0, 3, 5000)),
		},
	} {
		t.Run(what, func(t *testing.T) {
			c := newCell(1, chain.Layout{ConvPartitions: 1, UserPartitions: 1})
			c.register(0, &imv1.SessionRequest{EdgeId: "e1", Replace: true})
			bring(c, commands...)
			c.own(bus.Partition{Kind: bus.User})
			c.register(0, &imv1.SessionRequest{EdgeId: "e1", Replace: true, AddUserIds: append(names(0, 700, 64), "o", "a", "b")})
			c.drain()
			if c.largest > bus.MaxPayload || c.store.largest > kv.MaxBatch {
				c.violate("a payload of %d bytes, a commit of %d", c.largest, c.store.largest)
			}
			t.Logf("largest payload %d, largest commit %d", c.largest, c.store.largest)
			for _, s := range c.wrong {
				t.Error(s)
			}
		})
	}
}

// comeAndGo takes everybody out of some groups and in again, so often.
func comeAndGo(groups, rounds int) (out []*imv1.Command) {
	members := names(0, 499, 64)
	for r := range rounds {
		for g := range groups {
			id := string(im.Group("o", im.ClientMessageID(name(g, 64))))
			out = append(out,
				&imv1.Command{UserId: "o", ConversationId: id, Action: &imv1.Command_RemoveMembers{
					RemoveMembers: &imv1.RemoveMembers{ClientMessageId: fmt.Sprint("r", r), UserIds: members},
				}},
				&imv1.Command{UserId: "o", ConversationId: id, Action: &imv1.Command_AddMembers{
					AddMembers: &imv1.AddMembers{ClientMessageId: fmt.Sprint("a", r), UserIds: members},
				}})
		}
	}
	return out
}

// A user partition takes what it can of the commands of one batch, refuses the others, and passes over what belongs
// elsewhere.
func TestHostileUserBatch(t *testing.T) {
	c := newCell(1, chain.Layout{ConvPartitions: 1, UserPartitions: 2})
	c.calm = true
	mine, other := im.UserID("a"), im.UserID("")
	for i := 0; other == ""; i++ {
		if u := im.UserID(name(i, 1)); c.layout.User(u) != c.layout.User(mine) {
			other = u
		}
	}
	p := bus.Partition{Kind: bus.User, Number: c.layout.User(mine)}
	bring(c, send("a", "s:a:b", "1", 1, nil))
	c.drain()
	b := &imv1.UserCommandBatch{EdgeId: "e1"}
	read := func(u im.UserID, conversation string) {
		b.Commands = append(b.Commands, &imv1.UserCommand{UserId: string(u), Action: &imv1.UserCommand_MarkRead{
			MarkRead: &imv1.MarkRead{ConversationId: conversation, ReadIndex: 1},
		}})
	}
	read(other, "s:a:b")
	read(im.UserID(name(1, 5000)), "s:a:b")
	read(mine, strings.Repeat("x", 5000))
	for range maxWeight + 5000 {
		read(mine, "s:a:b")
	}
	c.append(p, "x", marshal(&imv1.UserBatch{Source: &imv1.UserBatch_Commands{Commands: b}}))
	clear(c.heard)
	o := c.own(p)
	for o.read < uint64(len(c.streams[p])) {
		if err := o.work(); err != nil {
			t.Fatal(err)
		}
	}
	got := make(map[imv1.ErrorCode]int)
	for _, h := range c.heard["e1"] {
		for _, a := range h.GetAnswers() {
			got[a.GetError().GetCode()]++
		}
	}
	want := map[imv1.ErrorCode]int{0: maxWeight, imv1.ErrorCode_ERROR_CODE_OVERLOADED: 5000, imv1.ErrorCode_ERROR_CODE_INVALID_ID: 1}
	if !maps.Equal(got, want) {
		t.Errorf("answers are %v, want %v", got, want)
	}
}
