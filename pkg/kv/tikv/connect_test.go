//go:build !darwin || cgo

package tikv

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	plog "github.com/pingcap/log"
	perrors "github.com/pkg/errors"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/catena-im/catena/pkg/kv"
)

func TestNewSaysWhyPDDoesNotAnswer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := l.Addr().String()
	_ = l.Close()
	web := httptest.NewServer(http.NotFoundHandler())
	defer web.Close()
	for addr, want := range map[string]string{
		closed:                       "connection refused",
		web.Listener.Addr().String(): "server preface",
	} {
		_, err := New(Config{PD: []string{addr, addr}, ConnectTimeout: 200 * time.Millisecond})
		if err == nil || !strings.Contains(err.Error(), addr) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("got %v, want one line with %s and %q", err, addr, want)
		}
	}
}

func TestNewNamesTheFileThatIsWrong(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "ca.pem")
	_, err := New(Config{PD: []string{"127.0.0.1:1"}, CA: missing, Cert: missing, Key: missing})
	if err == nil || !strings.HasPrefix(err.Error(), "tikv: ca: ") || !strings.Contains(err.Error(), missing) {
		t.Errorf("got %v", err)
	}
}

func TestClientLogGoesToSlog(t *testing.T) {
	var out bytes.Buffer
	level := new(slog.LevelVar)
	route(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: level})))
	defer route(slog.New(slog.DiscardHandler))

	plog.L().With(zap.String("region", "7")).Warn("store is down",
		zap.Error(perrors.WithStack(errors.New("refused"))), zap.Uint64("id", 3))
	plog.L().Warn("store is down") // the same a moment later
	plog.L().Warn("get timestamp too slow", zap.Duration("cost time", time.Second))
	plog.L().Info("region was split")
	got := out.String()
	for _, want := range []string{`level=WARN`, `msg="tikv client: store is down"`, `region=7`, `err=refused`, `id=3`} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in %q", want, got)
		}
	}
	if strings.Count(got, "\n") != 1 || strings.Contains(got, "goroutine") || strings.Contains(got, ".go:") {
		t.Errorf("more than one plain line: %q", got)
	}
	level.Set(slog.LevelDebug)
	plog.L().Warn("1pc failed and fallbacks to normal commit procedure")
	if !strings.Contains(out.String(), `level=DEBUG msg="tikv client: 1pc failed`) {
		t.Errorf("chatter is not there at level debug: %q", out.String())
	}
	plog.L().Info("region was merged")
	if !strings.Contains(out.String(), `level=DEBUG msg="tikv client: region was merged"`) {
		t.Errorf("information is not there at level debug: %q", out.String())
	}
}

func TestMetricsCountCommits(t *testing.T) {
	s := newMock(t).open(t, Config{}, nil)
	reg := prometheus.NewRegistry()
	reg.MustRegister(s)
	if err := s.Commit(t.Context(), &kv.Batch{Fence: []byte("f"), Next: []byte("1")}); err != nil {
		t.Fatal(err)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "catena_tikv_commits_total" {
			continue
		}
		m := f.GetMetric()
		if len(m) != 1 || m[0].GetLabel()[0].GetValue() != "2pc" || m[0].GetCounter().GetValue() != 1 {
			t.Errorf("got %v", f)
		}
		return
	}
	t.Errorf("no commits in %v", families)
}

func TestSnapshotHasItsTime(t *testing.T) {
	s := newMock(t).open(t, Config{}, nil)
	sn, err := s.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	sn.(*snapshot).born = time.Now().Add(-DefaultSnapshotAge - time.Second)
	if _, err := sn.Get(t.Context(), []byte("k")); !errors.Is(err, kv.ErrExpired) {
		t.Errorf("get: got %v, want %v", err, kv.ErrExpired)
	}
	if _, err := sn.BatchGet(t.Context(), [][]byte{[]byte("k")}); !errors.Is(err, kv.ErrExpired) {
		t.Errorf("batch get: got %v, want %v", err, kv.ErrExpired)
	}
	if err := sn.Scan(t.Context(), kv.Range{}, func(_, _ []byte) error { return nil }); !errors.Is(err, kv.ErrExpired) {
		t.Errorf("scan: got %v, want %v", err, kv.ErrExpired)
	}
	sn.Release()
	if _, err := sn.Get(t.Context(), []byte("k")); !errors.Is(err, errReleased) {
		t.Errorf("get after release: got %v, want %v", err, errReleased)
	}
}

func TestPrefixesKeepSystemsApart(t *testing.T) {
	m := newMock(t)
	for _, prefix := range []string{"a", "a\xff", "b", "ab"} {
		s := m.open(t, Config{Prefix: prefix}, nil)
		b := &kv.Batch{Fence: []byte("f"), Next: []byte(prefix)}
		b.Put([]byte{0}, []byte(prefix))
		b.Put([]byte("\xff\xff\xff"), []byte(prefix))
		if err := s.Commit(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	s := m.open(t, Config{Prefix: "ab"}, nil)
	sn, err := s.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, reverse := range []bool{false, true} {
		rows := 0
		if err := sn.Scan(t.Context(), kv.Range{Reverse: reverse}, func(key, value []byte) error {
			if rows++; string(value) != "ab" {
				t.Errorf("%q=%q", key, value)
			}
			return nil
		}); err != nil || rows != 3 {
			t.Errorf("reverse %v: %d rows, %v", reverse, rows, err)
		}
	}
}
