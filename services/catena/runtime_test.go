package main

import "testing"

func TestGoroutinesThatWaitForTheDiskHaveRoomOfTheirOwn(t *testing.T) {
	for _, c := range []struct {
		durability string
		conv, user int
		want       int
	}{
		{"fsync", 1, 1, 4},
		{"fsync", 4, 4, 4},
		{"fsync", 64, 64, 4},
		{"interval", 4, 4, 2},
	} {
		cfg := DefaultConfig()
		cfg.Durability, cfg.Partitions.Conv, cfg.Partitions.User = c.durability, c.conv, c.user
		if got := procs(2, cfg); got != c.want {
			t.Errorf("%+v: got %d", c, got)
		}
	}
}
