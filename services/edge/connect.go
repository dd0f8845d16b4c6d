package edge

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/catena-im/catena/pkg/im"
	"github.com/catena-im/catena/pkg/refusal"
	imv1 "github.com/catena-im/catena/proto/im/v1"
	"github.com/catena-im/catena/services/edge/token"
)

// connect authenticates the connection. Requests are taken from here on; Connected follows when the history service
// has told where the user's chain stands. The owner of the user's partition is not waited for.
func (s *session) connect(id uint64, c *imv1.Connect) error {
	if s.authenticated {
		return badArgument("the connection is authenticated already; open another one for another token")
	}
	if err := im.DeviceID(c.GetDeviceId()).Validate(); err != nil {
		return badID("connect.device_id", err)
	}
	if n := len(c.GetPlatform()); n > maxPlatform {
		return badArgument("connect.platform has %d bytes; give at most %d", n, maxPlatform)
	}
	claims, err := s.edge.verify(c)
	if err != nil {
		s.deny(id, err)
		s.close(closeUnauthenticated, nil)
		return nil
	}
	s.mu.Lock()
	s.user, s.device, s.expires = claims.User, im.DeviceID(c.GetDeviceId()), claims.Expires
	s.heartbeat = s.edge.cfg.interval(c.GetHeartbeatMs())
	s.stage = joining
	s.mu.Unlock()
	replaced, err := s.edge.partitionOf(s.user).join(s)
	if err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.stage = fresh
		return err
	}
	s.authenticated = true
	s.edge.metrics.sessions.Inc()
	s.edge.log.Debug("session", "session", s.number, "user", claims.User, "device", c.GetDeviceId(), "platform", c.GetPlatform(), "index", c.GetLastUserIndex())
	if replaced != nil {
		replaced.close(closeReplaced, refusal.New(imv1.ErrorCode_ERROR_CODE_SESSION_REPLACED,
			"a newer session of this device took over; do not connect twice with one device_id"))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.parting == nil && !s.ended {
		s.start(func() { s.welcome(id) })
	}
	return nil
}

// verify verifies the token of a Connect, and that it is for its device.
func (e *Edge) verify(c *imv1.Connect) (token.Claims, error) {
	claims, err := e.tokens.Verify(c.GetToken())
	if err == nil && claims.Device != "" && string(claims.Device) != c.GetDeviceId() {
		err = refusal.New(imv1.ErrorCode_ERROR_CODE_TOKEN_DEVICE, "the token is for another device; connect with the device_id that it names")
	}
	return claims, err
}

// welcome answers Connect.
func (s *session) welcome(id uint64) {
	h, err := s.edge.readHead(s.user)
	if err != nil {
		s.edge.log.Debug("read head", "session", s.number, "user", s.user, "err", err)
		s.deny(id, err)
		s.close(closeTryAgain, nil)
		return
	}
	s.edge.partitionOf(s.user).settle(s, h, func(h *imv1.Head) *imv1.ServerFrame {
		return &imv1.ServerFrame{Id: id, Body: &imv1.ServerFrame_Connected{Connected: s.connected(h)}}
	})
}

func (s *session) connected(h *imv1.Head) *imv1.Connected {
	cfg := &s.edge.cfg
	return &imv1.Connected{
		SessionId:    fmt.Sprintf("%s.%d", s.edge.id, s.number),
		UserId:       string(s.user),
		Head:         h,
		HeartbeatMs:  uint32(s.heartbeat.Milliseconds()),
		ServerTimeMs: time.Now().UnixMilli(),
		Limits: &imv1.Limits{
			FrameBytes: uint32(cfg.FrameBytes), BodyBytes: im.MaxBody, PageEntries: im.MaxPage,
			PendingRequests: uint32(cfg.PendingRequests), GroupMembers: im.MaxMembers,
		},
	}
}

// readHead asks the history service where the user's chain and list stand.
func (e *Edge) readHead(u im.UserID) (head, error) {
	ctx, cancel := context.WithTimeout(e.work, e.cfg.PullTimeout)
	defer cancel()
	data, err := e.history(ctx, &imv1.HistoryRequest{UserId: string(u), Body: &imv1.HistoryRequest_GetHead{GetHead: &imv1.GetHead{}}})
	if err != nil {
		return head{}, err
	}
	reply := new(imv1.HistoryReply)
	if err := proto.Unmarshal(data, reply); err != nil {
		return head{}, fmt.Errorf("history reply: %w", err)
	}
	if reply.GetHead() == nil {
		return head{}, errors.Join(errHistoryAway, errors.New(reply.GetError().GetText()))
	}
	return headOf(reply.GetHead()), nil
}

// interval is the heartbeat interval of a client that wishes for ms milliseconds.
func (c Config) interval(ms uint32) time.Duration {
	if ms == 0 {
		return c.Heartbeat
	}
	return min(max(time.Duration(ms)*time.Millisecond, c.MinHeartbeat), c.MaxHeartbeat)
}
