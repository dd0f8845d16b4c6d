package floorplan

// A Room is one line of the house in docs/DESIGN.md §8: a package and everything below its folder.
type Room struct {
	Path  string // below the module root github.com/catena-im/catena
	Floor int
	Wing  Wing
	// Beside are the rooms of the same floor that this one may import. The page orders them; the list says it exactly.
	Beside []string
}

// A Wing narrows what a room may import beyond what its floor says.
type Wing uint8

const (
	Main   Wing = iota // every lower floor
	Nouns              // the standard library only
	SDK                // the wire contract and the rooms of this wing: nothing of the server
	Driver             // what the SDK wing may import, and the SDK: a client like any other
	Tools              // nothing of the house
)

// Rooms is the plan. A room that is not listed has no place in the house.
var Rooms = []Room{
	{Path: "proto/im/v1", Floor: 0},
	{Path: "pkg/im", Floor: 1, Wing: Nouns},
	{Path: "pkg/kv", Floor: 1, Beside: []string{"pkg/im"}},
	{Path: "pkg/bus", Floor: 1, Beside: []string{"pkg/im"}},
	{Path: "pkg/conf", Floor: 1, Beside: []string{"pkg/im"}},
	{Path: "pkg/refusal", Floor: 2},
	{Path: "pkg/chain", Floor: 2, Beside: []string{"pkg/refusal"}},
	{Path: "pkg/partition", Floor: 2, Beside: []string{"pkg/refusal", "pkg/chain"}},
	{Path: "pkg/client", Floor: 1, Wing: SDK},
	{Path: "services/edge", Floor: servicesFloor},
	{Path: "services/sequencer", Floor: servicesFloor},
	{Path: "services/history", Floor: servicesFloor},
	{Path: "services/push", Floor: servicesFloor},
	{Path: "services/api", Floor: servicesFloor},
	{Path: "services/embed", Floor: servicesFloor},
	{Path: "services/bench", Floor: servicesFloor, Wing: Driver},
	{Path: "services/catena", Floor: 4},
	{Path: "services/tikvdev", Floor: 4},
	{Path: "scripts/tools", Floor: 0, Wing: Tools},
}

const servicesFloor = 3

// A Keep says that the packages of one outside module are imported in one room only, or two.
type Keep struct {
	Module string // import path prefix
	Room   string // where it may be imported
	Also   string // where else, if anywhere
	Why    string
	Tests  bool // test files anywhere may import it too
}

// yardstick measures modules bare, so that what the house makes of them can be held against what they can do. It is no
// part of a server: nothing but the load generator talks to it.
const yardstick = "services/bench/yardstick"

// Keeps is the list of such modules.
var Keeps = []Keep{
	{Module: "github.com/nats-io/nats.go", Room: "pkg/bus", Also: yardstick,
		Why: "what NATS promises, and what it does not, is known in one place; ask pkg/bus for what you need"},
	{Module: "github.com/nats-io/nats-server", Room: "services/embed", Also: yardstick, Tests: true,
		Why: "a role must not know whether its server is embedded or a cluster; tests may start one of their own"},
	{Module: "github.com/lxzan/gws", Room: "services/edge", Also: yardstick,
		Why: "only the edge faces sockets; clients and tests go through pkg/client"},
	{Module: "github.com/cockroachdb/pebble", Room: "pkg/kv/pebble", Also: yardstick,
		Why: "chain logic is written once above pkg/kv and must not know its driver"},
	{Module: "github.com/tikv", Room: "pkg/kv/tikv", Also: "services/tikvdev",
		Why: "chain logic is written once above pkg/kv and must not know its driver"},
	{Module: "github.com/pingcap", Room: "pkg/kv/tikv", Also: "services/tikvdev",
		Why: "TiKV's protocol and its client's log belong to the driver and to what stands in for the cluster"},
}
