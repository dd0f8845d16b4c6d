package main

import "testing"

func TestGoroutinesThatWaitForTheDiskHaveRoomOfTheirOwn(t *testing.T) {
	for durability, want := range map[string]int{"fsync": 3, "interval": 2} {
		if got := procs(2, durability); got != want {
			t.Errorf("durability %s: got %d, want %d", durability, got, want)
		}
	}
}
