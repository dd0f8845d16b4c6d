package client

import (
	"fmt"
	"os"
	"strings"
	"testing"

	imv1 "github.com/catena-im/catena/proto/im/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// TestProtocolPage holds the page that others write their clients from against the frames.
func TestProtocolPage(t *testing.T) {
	data, err := os.ReadFile("../../proto/README.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(data)
	shown := map[protoreflect.Name]bool{}
	for line := range strings.Lines(page) {
		var frame proto.Message = &imv1.ClientFrame{}
		example, found := strings.CutPrefix(line, "→ ")
		if !found {
			frame = &imv1.ServerFrame{}
			if example, found = strings.CutPrefix(line, "← "); !found {
				continue
			}
		}
		if err := protojson.Unmarshal([]byte(example), frame); err != nil {
			t.Errorf("%s: %v", example, err)
			continue
		}
		m := frame.ProtoReflect()
		shown[m.WhichOneof(m.Descriptor().Oneofs().ByName("body")).Name()] = true
	}
	for _, frame := range []proto.Message{&imv1.ClientFrame{}, &imv1.ServerFrame{}} {
		fields := frame.ProtoReflect().Descriptor().Oneofs().ByName("body").Fields()
		for i := range fields.Len() {
			if name := fields.Get(i).Name(); !shown[name] {
				t.Errorf("the page has no example of %s", name)
			}
		}
	}
	for number, name := range imv1.ErrorCode_name {
		row := fmt.Sprintf("| `%s` | %d |", strings.TrimPrefix(name, "ERROR_CODE_"), number)
		if number != 0 && !strings.Contains(page, row) {
			t.Errorf("the page has no row %s", row)
		}
	}
}
