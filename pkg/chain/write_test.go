package chain

import (
	"testing"

	"github.com/catena-im/catena/pkg/kv"
	imv1 "github.com/catena-im/catena/proto/im/v1"
)

func TestRecordsOfAStepAreWrittenIntoTheSameMemory(t *testing.T) {
	b := new(kv.Batch)
	w := NewWriter(layout, b)
	head, list := &imv1.UserHead{LastIndex: 7}, &imv1.ListRecord{SeenIndex: 7}
	if n := testing.AllocsPerRun(10, func() {
		b.Reset()
		for range 100 {
			w.UserEntry("ann", 7, Ref{"s:ann:ben", 7})
			w.UserHead("ann", head)
			w.List("ann", "s:ann:ben", list)
		}
	}); n > 0 {
		t.Errorf("300 records: %v allocations", n)
	}
}
