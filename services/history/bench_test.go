package history

import (
	"fmt"
	"testing"

	"github.com/catena-im/catena/pkg/im"
	imv1 "github.com/catena-im/catena/proto/im/v1"
)

func (s *site) bench(b *testing.B, req *imv1.HistoryRequest) {
	if s.batch.Len() > 0 {
		s.commit()
	}
	b.ReportAllocs()
	p := new(page)
	for b.Loop() {
		if reply, err := s.pull(b.Context(), req, p); err != nil || len(reply) < 1000 {
			b.Fatal(len(reply), err)
		}
	}
}

func BenchmarkConversationPage(b *testing.B) {
	s := newSite(b)
	for range 1000 {
		s.enter(pair, "ann", said{size: 200}, "ann", "ben")
	}
	for _, limit := range []uint32{100, 500} {
		b.Run(fmt.Sprint(limit), func(b *testing.B) {
			s.bench(b, &imv1.HistoryRequest{UserId: "ben", Body: &imv1.HistoryRequest_PullConversation{
				PullConversation: &imv1.PullConversation{ConversationId: string(pair), Limit: limit},
			}})
		})
	}
}

func BenchmarkUserPage(b *testing.B) {
	s := newSite(b)
	for range 1000 {
		s.enter(pair, "ann", said{size: 200}, "ann", "ben")
	}
	s.bench(b, &imv1.HistoryRequest{UserId: "ben", Body: &imv1.HistoryRequest_PullUser{PullUser: &imv1.PullUser{}}})
}

func BenchmarkList(b *testing.B) {
	for _, unread := range []int{1, 4} {
		b.Run(fmt.Sprint(unread), func(b *testing.B) {
			s := newSite(b)
			for i := range im.MaxPage {
				from := im.UserID(fmt.Sprint("user", i))
				for range unread {
					s.enter(im.Single("ann", from), from, said{size: 200}, "ann")
				}
			}
			s.bench(b, &imv1.HistoryRequest{UserId: "ann", Body: &imv1.HistoryRequest_ListConversations{
				ListConversations: &imv1.ListConversations{Limit: im.MaxPage},
			}})
		})
	}
}
