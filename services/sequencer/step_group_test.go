package sequencer

import (
	"fmt"
	"testing"

	"github.com/catena-im/catena/pkg/im"
	imv1 "github.com/catena-im/catena/proto/im/v1"
)

// group is a state with one group of o's, and a way to send it commands.
func group(t *testing.T) (c *conversation, do func(cmd *imv1.Command) imv1.ErrorCode) {
	t.Helper()
	id := im.Group("o", "g")
	c = &conversation{id: id, parsed: im.Conversation{Kind: im.KindGroup}}
	st := newConvState(0)
	n := uint64(0)
	do = func(cmd *imv1.Command) imv1.ErrorCode {
		n++
		cmd.UserId, cmd.ConversationId = "o", string(id)
		a, _ := st.step(locate(place{sequence: n}, c, cmd))
		return a.GetError().GetCode()
	}
	if code := do(create("o", "g", "t", nil)); code != 0 {
		t.Fatal(code)
	}
	return c, do
}

func adding(cm string, users ...string) *imv1.Command {
	return &imv1.Command{Action: &imv1.Command_AddMembers{AddMembers: &imv1.AddMembers{ClientMessageId: cm, UserIds: users}}}
}

func removing(cm string, users ...string) *imv1.Command {
	return &imv1.Command{Action: &imv1.Command_RemoveMembers{RemoveMembers: &imv1.RemoveMembers{ClientMessageId: cm, UserIds: users}}}
}

func TestMemberMayComeAndGoSoOften(t *testing.T) {
	c, do := group(t)
	for i := range maxIntervals {
		if a, r := do(adding(fmt.Sprint("a", i), "ben")), do(removing(fmt.Sprint("r", i), "ben")); a != 0 || r != 0 {
			t.Fatalf("round %d: %v, %v", i, a, r)
		}
	}
	head := c.head.GetLastIndex()
	if code := do(adding("b", "ben", "cleo")); code != imv1.ErrorCode_ERROR_CODE_INVALID_ARGUMENT {
		t.Errorf("once more: %v", code)
	}
	if c.head.GetLastIndex() != head || c.in("cleo") {
		t.Error("a refused command changed the group")
	}
	if code := do(adding("c", "cleo")); code != 0 {
		t.Errorf("another member: %v", code)
	}
}

func TestGroupKeepsSoManyMembersOverTime(t *testing.T) {
	c, do := group(t)
	for i := 0; len(c.members)+499 <= maxEver; i++ {
		users := names(i*499, 499, 8)
		if a, r := do(adding(fmt.Sprint("a", i), users...)), do(removing(fmt.Sprint("r", i), users...)); a != 0 || r != 0 {
			t.Fatalf("round %d: %v, %v", i, a, r)
		}
	}
	if code := do(adding("b", names(1_000_000, 499, 8)...)); code != imv1.ErrorCode_ERROR_CODE_GROUP_FULL {
		t.Errorf("%d members and 499 more: %v", len(c.members), code)
	}
	if code := do(adding("c", names(0, 499, 8)...)); code != 0 {
		t.Errorf("former members again: %v", code)
	}
}

func TestGroupIsMadeUnderItsOwnIdOnly(t *testing.T) {
	single := &conversation{id: "s:o:o", parsed: im.Conversation{Kind: im.KindSingle, Users: [2]im.UserID{"o", "o"}}}
	other := &conversation{id: im.Group("x", "g"), parsed: im.Conversation{Kind: im.KindGroup}}
	for _, c := range []*conversation{single, other} {
		cmd := create("o", "g", "t", nil)
		cmd.ConversationId = string(c.id)
		a, e := newConvState(0).step(locate(place{sequence: 1}, c, cmd))
		if a.GetError().GetCode() != imv1.ErrorCode_ERROR_CODE_INVALID_ID || e.message != nil || c.head != nil {
			t.Errorf("a group under %s: %v", c.id, a)
		}
	}
}
