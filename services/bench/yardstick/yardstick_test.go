package yardstick

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/catena-im/catena/services/bench/process"
	"github.com/catena-im/catena/services/bench/socket"
)

// asChild makes a run of the test binary be a child of Runner.
const asChild = "RUN_AS_YARDSTICK"

func TestMain(m *testing.M) {
	if os.Getenv(asChild) != "" {
		if err := Child(context.Background(), os.Args[1], os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

func runner(t *testing.T) Runner {
	t.Helper()
	t.Setenv(asChild, "1")
	return Runner{Command: []string{os.Args[0]}, Dir: t.TempDir()}
}

const short = 50 * time.Millisecond

func TestEveryYardstickMeasuresSomething(t *testing.T) {
	r := runner(t)
	for _, sync := range []bool{false, true} {
		if got, err := r.Publish(t.Context(), 200, sync, short); err != nil || got.Rate <= 0 {
			t.Errorf("publish, sync %v: %+v, %v", sync, got, err)
		}
	}
	if got, err := r.Echo(t.Context(), 200, short); err != nil || got.Rate <= 0 || got.RoundTrip.Count == 0 {
		t.Errorf("echo: %+v, %v", got, err)
	}
	if got, err := r.Pebble(t.Context(), 5000, 300, 100); err != nil || got.Write <= 0 || got.ColdScan <= 0 || got.Scan <= 0 || got.Pages <= 0 {
		t.Errorf("pebble: %+v, %v", got, err)
	}
	if got, err := r.Fsync(t.Context(), short); err != nil || got.Count == 0 {
		t.Errorf("fsync: %+v, %v", got, err)
	}
	left, err := os.ReadDir(r.Dir)
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestGWSServerLivesWhileItIsUsed(t *testing.T) {
	var pid int
	err := runner(t).GWS(t.Context(), func(ctx context.Context, s Server) error {
		pid = s.PID
		c, err := socket.Dial(ctx, socket.Config{URL: s.URL})
		if err != nil {
			return err
		}
		defer c.Close()
		if err := c.Write([]byte("hello")); err != nil {
			return err
		}
		got, err := c.Read()
		if string(got) != "hello" {
			t.Errorf("the echo is %q", got)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := process.Read(pid); err == nil {
		t.Error("the server outlives its use")
	}
}

func TestFailedYardstickSaysWhy(t *testing.T) {
	err := runner(t).measure(t.Context(), Task{Kind: "nonsense"}, new(PublishResult))
	if err == nil || !strings.Contains(err.Error(), `there is no yardstick "nonsense"`) {
		t.Errorf("measure: %v", err)
	}
}
