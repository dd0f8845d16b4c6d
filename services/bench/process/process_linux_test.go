package process

import (
	"os"
	"testing"
	"time"
)

func TestOwnUsageIsRead(t *testing.T) {
	before, err := Read(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if before.Resident <= 0 || before.Peak < before.Resident {
		t.Errorf("memory: %+v", before)
	}
	for sum := 0; ; sum++ {
		if now, err := Read(os.Getpid()); err != nil || now.CPU > before.CPU {
			break
		}
	}
}

func TestNameOfTheProgramMayHoldAnything(t *testing.T) {
	got, err := parseStat([]byte("7 (a ) b (c) R 1 2 3 4 5 6 7 8 9 10 120 30 0 0"))
	if want := 1500 * time.Millisecond; err != nil || got != want {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
}

func TestProcessThatIsGoneIsAnError(t *testing.T) {
	if u, err := Read(1 << 30); err == nil {
		t.Errorf("got %+v", u)
	}
}
