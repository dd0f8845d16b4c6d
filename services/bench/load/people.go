package load

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"

	imv1 "github.com/catena-im/catena/proto/im/v1"
)

// address gives every client lanes to its neighbours: each pair of neighbours is one conversation, used both ways.
func (t *traffic) address(clients []*client, peers int) {
	n := len(clients)
	for i, c := range clients {
		for j := 1; j <= min(peers, n-1); j++ {
			distance := (j + 1) / 2
			if j%2 == 0 {
				distance = n - distance
			}
			peer := clients[(i+distance)%n]
			l := &lane{from: c, to: peer.user, receivers: 1}
			if peer == c {
				l.receivers = 0
			}
			t.lanes[i] = append(t.lanes[i], t.witnessed(l, c, peer))
		}
	}
}

// witnessed notes on a lane which of its users are watched.
func (t *traffic) witnessed(l *lane, users ...*client) *lane {
	for _, u := range users {
		if t.watched[u.at] != nil {
			l.watched = append(l.watched, u.at)
		}
	}
	return l
}

// witnesses watches about n users, spread over the crowd. It is called before lanes are made and while nothing is sent.
func (t *traffic) witnesses(clients []*client, n int) {
	every := max(1, len(clients)/max(n, 1))
	for i := 0; i < len(clients); i += every {
		t.watched[i] = &witness{client: clients[i], acked: map[uint64]bool{}}
	}
}

// mostMembers is how many members a group may have.
const mostMembers = 500

// group makes a group of members, the first of whom owns it, and returns its id.
func (b *Bench) group(ctx context.Context, members []*client, title string) (string, error) {
	others := make([]string, 0, len(members)-1)
	for _, m := range members[1:] {
		others = append(others, m.user)
	}
	answer, err := members[0].call(ctx, &imv1.ClientFrame{Body: &imv1.ClientFrame_CreateGroup{CreateGroup: &imv1.CreateGroup{
		ClientMessageId: "make-" + title, Title: title, MemberIds: others,
	}}})
	if err != nil {
		return "", fmt.Errorf("make a group of %d: %w", len(members), err)
	}
	return answer.GetSent().GetConversationId(), nil
}

// groups puts the clients into groups of this many members, and adds a lane into its group to each of those who speak:
// the first speakers of each group, everybody when speakers is 0.
func (t *traffic) groups(ctx context.Context, clients []*client, members, speakers int) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(connecting)
	for i := 0; i+members <= len(clients); i += members {
		in := clients[i : i+members]
		g.Go(func() error {
			id, err := t.bench.group(ctx, in, fmt.Sprintf("group-%d", i))
			if err != nil {
				return err
			}
			for n, c := range in {
				if speakers == 0 || n < speakers {
					l := &lane{from: c, conversation: id, receivers: members - 1}
					t.rooms[c.at] = append(t.rooms[c.at], t.witnessed(l, in...))
				}
			}
			return nil
		})
	}
	return g.Wait()
}
