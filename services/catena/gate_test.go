package main

import (
	"errors"
	"testing"
)

func TestGateSaysWhyItIsClosed(t *testing.T) {
	g := gate{first: make(chan struct{})}
	full := errors.New("no space left on device")
	for _, step := range []struct {
		name string
		do   func()
		want error
	}{
		{"new", func() {}, errNotReady},
		{"for a reason", func() { g.because(full) }, full},
		{"open", g.open, nil},
		{"closed", g.close, errNotReady},
		{"for a reason again", func() { g.because(full) }, full},
		{"still closed", g.close, full},
		{"open again", g.open, nil},
	} {
		step.do()
		if got := g.ready(); !errors.Is(got, step.want) {
			t.Errorf("%s: got %v, want %v", step.name, got, step.want)
		}
	}
	<-g.first
}
