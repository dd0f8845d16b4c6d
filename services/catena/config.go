package main

import (
	"fmt"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/catena-im/catena/pkg/conf"
	"github.com/catena-im/catena/services/edge/token"
)

// Config is the configuration of a server process: of `catena dev`, which runs all roles on what it embeds, and of
// `catena serve`, which runs some of them in a cluster.
type Config struct {
	Data       string   `conf:"data" doc:"Folder that holds everything this node keeps; only one server may use it at a time."`
	Listen     string   `conf:"listen" doc:"Address for clients, host:port: WebSocket on /ws; port 0 takes a free one."`
	Roles      []string `conf:"roles" doc:"What this process does, of edge, sequencer and history; dev always does everything."`
	Durability string   `conf:"durability" doc:"Embedded NATS server: when an acknowledged message is safe from power loss: fsync at once, interval within a second (faster)." oneof:"fsync interval"`
	Cell       string   `conf:"cell" doc:"Name of the region, one token in every subject; fixed when the cluster is provisioned or the data folder made."`
	Node       string   `conf:"node" doc:"Name of this node in logs and leases, kept over restarts and unique in the cluster: letters, digits, - and _."`

	Admin      AdminConfig      `conf:"admin" doc:"Probes and metrics."`
	Log        LogConfig        `conf:"log" doc:"What is logged, to standard error."`
	NATS       NATSConfig       `conf:"nats" doc:"The NATS servers, or the embedded one."`
	Store      StoreConfig      `conf:"store" doc:"Where the chains are kept."`
	Partitions PartitionsConfig `conf:"partitions" doc:"Units of order and ownership; fixed when the cluster is provisioned or the data folder made."`
	Stream     StreamConfig     `conf:"stream" doc:"Bounds of each partition's stream."`
	Auth       AuthConfig       `conf:"auth" doc:"Which tokens clients may connect with."`
	Limits     LimitsConfig     `conf:"limits" doc:"What one client may take."`

	fresh int // partitions of each kind in a new folder, where their number is left open
}

// LogConfig says what is logged.
type LogConfig struct {
	Level  string `conf:"level" doc:"Least important level that is logged." oneof:"debug info warn error"`
	Format string `conf:"format" doc:"Form of a log line." oneof:"text json"`
}

// AdminConfig is the port for operators.
type AdminConfig struct {
	Listen string `conf:"listen" doc:"Address of /healthz, /readyz and /metrics, host:port; port 0 takes a free one. It asks for no password: keep it off the internet."`
}

// NATSConfig says where NATS is.
type NATSConfig struct {
	URL         string `conf:"url" doc:"Servers to connect to, nats://host:port, comma separated; empty runs one in this process."`
	Listen      string `conf:"listen" doc:"Embedded server: address for NATS clients such as the nats command, host:port; port 0 takes a free one. It asks for no password, so it must be on loopback."`
	Credentials string `conf:"credentials" doc:"File with JWT and seed, as nsc writes it."`
	NKey        string `conf:"nkey" doc:"File with the seed of an nkey."`
	User        string `conf:"user" doc:"User name, where the servers want a password."`
	Password    string `conf:"password" doc:"Its password." secret:"true"`
	Inbox       string `conf:"inbox" doc:"Begin of the subjects that answers come to, where the servers let this user subscribe to no others; empty is _INBOX."`
	CA          string `conf:"ca" doc:"TLS: file with the certificates (PEM) that the servers' are signed by; empty trusts the system's."`
	Cert        string `conf:"cert" doc:"TLS: file with this process's certificate (PEM), where the servers want one."`
	Key         string `conf:"key" doc:"TLS: file with its key (PEM)."`
}

// StoreConfig says where the chains are kept.
type StoreConfig struct {
	Driver string     `conf:"driver" doc:"pebble keeps them in the data folder of one process; tikv in a cluster that all processes share." oneof:"pebble tikv"`
	TiKV   TiKVConfig `conf:"tikv" doc:"The TiKV cluster."`
}

// TiKVConfig says where TiKV is.
type TiKVConfig struct {
	PD             []string      `conf:"pd" doc:"Addresses of its PD servers, host:port."`
	Prefix         string        `conf:"prefix" doc:"Before every key, 1 or 2 bytes, so that several systems can share a cluster; empty takes the driver's."`
	CA             string        `conf:"ca" doc:"TLS: file with the certificates (PEM) that the servers' are signed by; all three or none."`
	Cert           string        `conf:"cert" doc:"TLS: file with this process's certificate (PEM)."`
	Key            string        `conf:"key" doc:"TLS: file with its key (PEM)."`
	ConnectTimeout time.Duration `conf:"connect_timeout" doc:"How long a start waits for PD and the stores." min:"100ms"`
	GCInterval     time.Duration `conf:"gc_interval" doc:"How often the sequencers remove overwritten values; 0 where something else (a TiDB) does it for the cluster."`
	GCKeep         time.Duration `conf:"gc_keep" doc:"How long overwritten values are kept; longer than any read." min:"17m"`
}

// PartitionsConfig counts partitions.
type PartitionsConfig struct {
	Conv int `conf:"conv" doc:"Number of conversation partitions. 0: what the cluster was provisioned with or the data folder made with; a new folder gets one for every four processors, 16 at most. A new cluster has to be given it: 32 are right for one that is to grow." min:"0" max:"400"`
	User int `conf:"user" doc:"Number of user partitions, as many as conversation partitions; 0 likewise." min:"0" max:"400"`
}

// StreamConfig bounds the streams.
type StreamConfig struct {
	Replicas        int           `conf:"replicas" doc:"Copies of each stream in a cluster of NATS servers; 3 survives the loss of one." min:"1" max:"5"`
	MaxBytes        conf.Bytes    `conf:"max_bytes" doc:"Most bytes that one partition's stream keeps; at the bound new commands are refused as retryable." min:"1MiB"`
	MaxAge          time.Duration `conf:"max_age" doc:"How long a stream keeps what was handled already; the chains are kept in the store." min:"1h"`
	DuplicateWindow time.Duration `conf:"duplicate_window" doc:"How long a stream recognises a batch that is published again." min:"1s"`
}

// AuthConfig says which tokens are accepted.
type AuthConfig struct {
	Audience string    `conf:"audience" doc:"Audience (aud) that a token must name."`
	Keys     []AuthKey `conf:"keys" doc:"Keys that sign tokens: [{id: main, algorithm: HS256, key: …}]. id is the kid of their tokens; key the secret, 32 bytes of text or more, or for EdDSA the public key, PEM or base64; file: … names a file that holds it instead. Empty makes one for development in the data folder (auth.key)." secret:"true"`
}

// AuthKey is one key that tokens may be signed with. Exactly one of Key and File is given.
type AuthKey struct {
	ID        string `conf:"id" doc:"Name of the key, the kid of its tokens."`
	Algorithm string `conf:"algorithm" doc:"How its tokens are signed." oneof:"HS256 EdDSA"`
	Key       string `conf:"key" doc:"HS256: the secret, at least 32 bytes of text; EdDSA: the public key, PEM or base64." secret:"true"`
	File      string `conf:"file" doc:"File that holds the key instead, without blanks around it."`
}

// LimitsConfig bounds one client.
type LimitsConfig struct {
	Connections int        `conf:"connections" doc:"Most connections at once; more are refused." min:"1"`
	FrameRate   int        `conf:"frame_rate" doc:"Frames per second that one connection may send for long." min:"1"`
	FrameBurst  int        `conf:"frame_burst" doc:"Frames that one connection may send at once." min:"1"`
	QueueBytes  conf.Bytes `conf:"queue_bytes" doc:"Bytes that may wait for a client to read them; beyond, pushes are dropped and the client pulls." min:"4KiB"`
}

// DefaultConfig is what holds where nothing is configured. It serves on loopback only.
func DefaultConfig() Config {
	return Config{
		Data:       defaultData,
		Listen:     "127.0.0.1:7300",
		Durability: "fsync",
		Cell:       "local",
		Node:       "dev",
		Roles:      slices.Clone(allRoles),
		Admin:      AdminConfig{Listen: "127.0.0.1:7301"},
		Log:        LogConfig{Level: "info", Format: "text"},
		NATS:       NATSConfig{Listen: "127.0.0.1:7422"},
		Store: StoreConfig{Driver: driverPebble, TiKV: TiKVConfig{
			PD: []string{}, ConnectTimeout: 15 * time.Second, GCInterval: 10 * time.Minute, GCKeep: 30 * time.Minute,
		}},
		fresh:  freshPartitions(runtime.GOMAXPROCS(0)), // which is what this process may use, also in a container, until tuneProcs raises it
		Stream: StreamConfig{Replicas: 1, MaxBytes: 1 << 30, MaxAge: 72 * time.Hour, DuplicateWindow: time.Minute},
		Auth:   AuthConfig{Audience: token.DefaultAudience},
		Limits: LimitsConfig{Connections: 100_000, FrameRate: 500, FrameBurst: 1000, QueueBytes: 256 << 10},
	}
}

const defaultData = "./.catena"

// nameLetters are what the name of a node is made of.
const nameLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"

// The roles.
const (
	roleEdge      = "edge"
	roleSequencer = "sequencer"
	roleHistory   = "history"
)

var allRoles = []string{roleEdge, roleSequencer, roleHistory}

// Validate checks what the tags cannot say.
func (c *Config) Validate() error {
	for key, address := range map[string]string{"listen": c.Listen, "nats.listen": c.NATS.Listen, "admin.listen": c.Admin.Listen} {
		if _, _, err := net.SplitHostPort(address); err != nil {
			return conf.Wrong(key, address, "is not host:port, such as 127.0.0.1:7300")
		}
	}
	switch {
	case c.Data == "":
		return conf.Wrong("data", c.Data, "is empty; name a folder, such as %s", defaultData)
	case c.Cell == "" || strings.ContainsAny(c.Cell, ".*> \t"):
		return conf.Wrong("cell", c.Cell, "is not one token; use letters, digits, - and _")
	case strings.ContainsAny(c.NATS.Inbox, "*> \t") || strings.HasSuffix(c.NATS.Inbox, "."):
		return conf.Wrong("nats.inbox", c.NATS.Inbox, "is not the begin of a subject; write such as _INBOX_edge")
	case c.Node == "" || len(c.Node) > 64 || strings.Trim(c.Node, nameLetters) != "":
		return conf.Wrong("node", c.Node, "is not a name; use up to 64 letters, digits, - and _")
	case c.Auth.Audience == "":
		return conf.Wrong("auth.audience", c.Auth.Audience, "is empty; name one, such as %s", token.DefaultAudience)
	case c.Stream.DuplicateWindow > c.Stream.MaxAge:
		return conf.Wrong("stream.duplicate_window", c.Stream.DuplicateWindow, "is above stream.max_age (%v)", c.Stream.MaxAge)
	}
	for _, r := range c.Roles {
		if !slices.Contains(allRoles, r) {
			return conf.Wrong("roles", r, "is no role; give some of %s", strings.Join(allRoles, ", "))
		}
	}
	if c.Store.Driver == "tikv" && len(c.Store.TiKV.PD) == 0 {
		return conf.Wrong("store.tikv.pd", "", "is empty; name the PD servers of the TiKV cluster, host:port")
	}
	for i, k := range c.Auth.Keys {
		if (k.Key == "") == (k.File == "") {
			return fmt.Errorf("auth.keys[%d] (%s): give either key or file", i, k.ID)
		}
	}
	return nil
}

func (c *Config) has(role string) bool { return slices.Contains(c.Roles, role) }

// embedded refuses what dev does not do: it brings its own NATS server and keeps the chains itself.
func (c *Config) embedded() error {
	switch {
	case c.NATS.URL != "":
		return conf.Wrong("nats.url", c.NATS.URL, "is for catena serve; dev runs a NATS server of its own")
	case c.Store.Driver != driverPebble:
		return conf.Wrong("store.driver", c.Store.Driver, "is for catena serve; dev keeps the chains in its data folder")
	}
	return nil
}

// TokenKeys are the configured keys, or the development key of the data folder, which is made when it is not there.
func (c *Config) TokenKeys() ([]token.Key, error) {
	if len(c.Auth.Keys) == 0 {
		k, err := LoadOrCreateKey(c.Data)
		return []token.Key{k}, err
	}
	keys := make([]token.Key, len(c.Auth.Keys))
	for i, k := range c.Auth.Keys {
		var err error
		if keys[i], err = k.load(); err != nil {
			return nil, fmt.Errorf("auth.keys[%d] (%s): %w", i, k.ID, err)
		}
	}
	return keys, nil
}

func (k AuthKey) load() (token.Key, error) {
	text := k.Key
	if k.File != "" {
		content, err := os.ReadFile(k.File)
		if err != nil {
			return token.Key{}, err
		}
		text = strings.TrimSpace(string(content))
	}
	out := token.Key{ID: k.ID, Algorithm: k.Algorithm}
	if k.Algorithm == token.HS256 {
		out.Secret = []byte(text)
		return out, nil
	}
	var err error
	out.PublicKey, err = token.ParsePublicKey(text)
	return out, err
}
