package edge

import (
	"testing"

	imv1 "github.com/catena-im/catena/proto/im/v1"
)

// Every request of the proto has a name, which is the proto's, and a counter.
func TestRequestsAreNamedAsInTheProto(t *testing.T) {
	m, err := newMetrics(nil)
	if err != nil {
		t.Fatal(err)
	}
	requests := new(imv1.ClientFrame).ProtoReflect().Descriptor().Oneofs().ByName("body").Fields()
	for i := range requests.Len() {
		f := new(imv1.ClientFrame)
		f.ProtoReflect().Mutable(requests.Get(i))
		got, ok := kindOf(f)
		if want := string(requests.Get(i).Name()); got != want || !ok {
			t.Errorf("%v is named %q, want %q", f, got, want)
		}
		if m.received[got] == nil {
			t.Errorf("%s is not counted", got)
		}
	}
	if kind, ok := kindOf(new(imv1.ClientFrame)); ok || m.received[kind] == nil {
		t.Errorf("an empty frame is named %q", kind)
	}
	if m.received[kindUndecodable] == nil {
		t.Error("what cannot be decoded is not counted")
	}
}
