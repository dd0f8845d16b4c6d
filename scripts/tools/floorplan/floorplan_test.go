package floorplan

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// TestTheHouseStands holds every package of the workspace against the plan.
func TestTheHouseStands(t *testing.T) {
	packages := workspace(t)
	for _, b := range Check(packages) {
		t.Error(b)
	}
}

// workspace lists the packages of all modules of go.work.
func workspace(t *testing.T) []Package {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-e", "-json=ImportPath,Doc,GoFiles,Imports,TestImports,XTestImports", "work")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list work: %v\n%s", err, &stderr)
	}
	var packages []Package
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p Package
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("go list work: %v", err)
		}
		packages = append(packages, p)
	}
	if !slices.ContainsFunc(packages, func(p Package) bool { return p.ImportPath == House+"pkg/im" }) {
		t.Fatalf("go list work does not list pkg/im; run the test inside the workspace (go.work). It lists %d packages", len(packages))
	}
	return packages
}

func TestCheckReportsBreaches(t *testing.T) {
	const mod = "github.com/"
	pkg := func(path string, imports ...string) Package {
		return Package{ImportPath: House + path, Doc: "Package x is documented.", GoFiles: []string{"x.go"}, Imports: imports}
	}
	inTest := func(path string, imports ...string) Package {
		p := pkg(path)
		p.TestImports = imports
		return p
	}
	tests := []struct {
		name string
		pkg  Package
		want string // a part of the breach; empty: none
	}{
		{"down", pkg("services/edge", House+"pkg/bus", House+"proto/im/v1"), ""},
		{"down past floors", pkg("services/catena", House+"pkg/im", House+"services/edge"), ""},
		{"within a room", pkg("pkg/kv/pebble", House+"pkg/kv", mod+"cockroachdb/pebble/v2"), ""},
		{"to a room below in its folder", pkg("services/edge", House+"services/edge/token"), ""},
		{"a stated neighbour", pkg("pkg/partition", House+"pkg/chain"), ""},
		{"up", pkg("pkg/bus", House+"pkg/chain"), "from floor 1 up to floor 2"},
		{"up in a test", inTest("pkg/bus", House+"services/embed"), "(in a test file)"},
		{"a neighbour", pkg("pkg/chain", House+"pkg/partition"), "both stand on floor 2"},
		{"a neighbour on floor 1", pkg("pkg/bus", House+"pkg/kv"), "both stand on floor 1"},
		{"a service and a service", pkg("services/edge", House+"services/history"), "services never import one another"},
		{"a service and a service in a test", inTest("services/edge", House+"services/embed"), "services never import one another"},
		{"the two mains", pkg("services/catena", House+"services/tikvdev"), "both stand on floor 4"},
		{"nouns and a module", pkg("pkg/im", mod+"google/uuid"), "standard library only"},
		{"nouns and the house", pkg("pkg/im", House+"proto/im/v1"), "standard library only"},
		{"nouns and the standard library", pkg("pkg/im", "crypto/sha256"), ""},
		{"the SDK and the nouns", pkg("pkg/client", House+"pkg/im"), "must not get the server"},
		{"an SDK store and the bus", pkg("pkg/client/sqlite", House+"pkg/bus"), "must not get the server"},
		{"an SDK store and the SDK", pkg("pkg/client/sqlite", House+"pkg/client"), ""},
		{"the server and the SDK", pkg("services/catena", House+"pkg/client"), ""},
		{"the checker and the SDK", pkg("services/bench", House+"pkg/client/sqlite", House+"proto/im/v1"), ""},
		{"the checker and the server", pkg("services/bench/check", House+"pkg/chain"), "from outside only"},
		{"the tools and the house", pkg("scripts/tools/x", House+"pkg/im"), "do not know each other"},
		{"nats.go in bus", pkg("pkg/bus", mod+"nats-io/nats.go/jetstream"), ""},
		{"nats.go elsewhere", pkg("pkg/partition", mod+"nats-io/nats.go"), "imported in pkg/bus and services/bench/yardstick only"},
		{"nats.go in a test elsewhere", inTest("services/edge", mod+"nats-io/nats.go"), "imported in pkg/bus and services/bench/yardstick only"},
		{"nats-server in embed", pkg("services/embed", mod+"nats-io/nats-server/v2/server"), ""},
		{"nats-server elsewhere", pkg("services/catena", mod+"nats-io/nats-server/v2/server"), "services/embed and services/bench/yardstick only"},
		{"nats-server in a test", inTest("pkg/bus", mod+"nats-io/nats-server/v2/server"), ""},
		{"gws elsewhere", pkg("services/bench", mod+"lxzan/gws"), "services/edge and services/bench/yardstick only"},
		{"gws in the yardsticks", pkg("services/bench/yardstick", mod+"lxzan/gws"), ""},
		{"nats-server in the yardsticks", pkg("services/bench/yardstick", mod+"nats-io/nats-server/v2/server"), ""},
		{"the server in the yardsticks", pkg("services/bench/yardstick", House+"pkg/kv/pebble"), "from outside only"},
		{"Pebble elsewhere", pkg("pkg/kv", mod+"cockroachdb/pebble/v2"), "pkg/kv/pebble and services/bench/yardstick only"},
		{"client-go in its driver", pkg("pkg/kv/tikv", mod+"tikv/client-go/v2/tikv"), ""},
		{"client-go in the development TiKV", pkg("services/tikvdev", mod+"tikv/client-go/v2/testutils"), ""},
		{"client-go elsewhere", pkg("pkg/kv/pebble", mod+"tikv/client-go/v2/txnkv"), "pkg/kv/tikv and services/tikvdev only"},
		{"client-go in a test elsewhere", inTest("pkg/chain", mod+"tikv/client-go/v2/testutils"), "pkg/kv/tikv and services/tikvdev only"},
		{"a name that begins alike", pkg("services/catena", mod+"nats-io/nats.gopher"), ""},
		{"no place", pkg("pkg/util"), "has no place in the house"},
		{"a folder that begins alike", pkg("pkg/imaging"), "has no place in the house"},
		{"no comment", Package{ImportPath: House + "pkg/kv", GoFiles: []string{"kv.go"}}, "no package comment"},
		{"tests alone need no comment", Package{ImportPath: House + "pkg/kv/kvtest"}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := Check([]Package{tt.pkg})
			switch {
			case tt.want == "" && len(got) > 0:
				t.Errorf("Check reports %q, want nothing", got)
			case tt.want != "" && len(got) != 1:
				t.Errorf("Check reports %q, want one breach with %q", got, tt.want)
			case tt.want != "" && !strings.Contains(got[0], tt.want):
				t.Errorf("Check reports %q, want %q in it", got[0], tt.want)
			}
		})
	}
}

func TestThePlanIsSound(t *testing.T) {
	for _, r := range Rooms {
		for _, b := range r.Beside {
			to, ok := find(b)
			if !ok || to.Floor != r.Floor {
				t.Errorf("%s names the neighbour %s, which is not on floor %d", r.Path, b, r.Floor)
			}
			if slices.Contains(to.Beside, r.Path) {
				t.Errorf("%s and %s name each other as neighbours", r.Path, b)
			}
		}
	}
	for _, k := range Keeps {
		for _, room := range []string{k.Room, k.Also} {
			if _, ok := find(room); !ok && room != "" {
				t.Errorf("%s is kept in %s, which is not in the plan", k.Module, room)
			}
		}
	}
}
