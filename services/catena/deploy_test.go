package main

import (
	"bytes"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"text/template"

	"github.com/knadh/koanf/parsers/yaml"
	natsd "github.com/nats-io/nats-server/v2/server"

	"github.com/catena-im/catena/pkg/conf"
)

const configs = "../../configs/"

// tree is a decoded YAML document; at walks down by keys and positions, nil where there is nothing.
type tree map[string]any

func at(v any, path ...any) any {
	for _, p := range path {
		switch p := p.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[p]
		case int:
			l, _ := v.([]any)
			if p >= len(l) {
				return nil
			}
			v = l[p]
		}
	}
	return v
}

func (d tree) at(path ...any) any { return at(map[string]any(d), path...) }

func list(v any) []any { l, _ := v.([]any); return l }

// word is a value as it stands there, empty where there is none.
func word(v any) string {
	if v == nil {
		return ""
	}
	return fmt.Sprint(v)
}

func documents(t *testing.T, file string) []tree {
	t.Helper()
	content, err := os.ReadFile(configs + file)
	if err != nil {
		t.Fatal(err)
	}
	var all []tree
	for part := range bytes.SplitSeq(content, []byte("\n---\n")) {
		doc, err := yaml.Parser().Unmarshal(part)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		all = append(all, doc)
	}
	return all
}

// accepted is the configuration of a process of a cluster, which must be one that catena serve takes, and a new cluster can
// be provisioned with.
func accepted(t *testing.T, name string, src conf.Sources, roles ...string) Config {
	t.Helper()
	cfg := DefaultConfig()
	if err := conf.Load(&cfg, src); err != nil {
		t.Errorf("%s: %v", name, err)
	}
	if len(roles) > 0 {
		cfg.Roles = roles
	}
	if err := cfg.shared(); err != nil {
		t.Errorf("%s: %v", name, err)
	}
	if cfg.Partitions.Conv == 0 || cfg.Partitions.User == 0 {
		t.Errorf("%s leaves partition counts open", name)
	}
	return cfg
}

// permitted is what configs/nats gives to each user, under the environment env.
func permitted(t *testing.T, file string, env map[string]string) map[string]*natsd.Permissions {
	t.Helper()
	for name, value := range env {
		t.Setenv(name, value)
	}
	o, err := natsd.ProcessConfigFile(file)
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	users := map[string]*natsd.Permissions{}
	for _, u := range o.Users {
		users[u.Username] = u.Permissions
	}
	return users
}

// hears reports a user of the NATS servers who may not hear the answers that the configuration sends to its inbox.
func hears(t *testing.T, name string, cfg Config, users map[string]*natsd.Permissions) {
	t.Helper()
	p := users[cfg.NATS.User]
	if p == nil || p.Subscribe == nil || !slices.Contains(p.Subscribe.Allow, cfg.NATS.Inbox+".>") {
		t.Errorf("%s: user %q may not subscribe to %s.>", name, cfg.NATS.User, cfg.NATS.Inbox)
	}
	if cfg.NATS.Password == "" {
		t.Errorf("%s: there is no password for %s", name, cfg.NATS.User)
	}
}

// replies reports users who may not answer requests that were made with that inbox. A right to respond is not enough: it
// is forgotten with the connection that brought the request.
func replies(t *testing.T, inbox string, users map[string]*natsd.Permissions, names ...string) {
	t.Helper()
	for _, name := range names {
		if p := users[name]; p == nil || p.Publish == nil || !slices.Contains(p.Publish.Allow, inbox+".>") {
			t.Errorf("user %q may not publish to %s.>", name, inbox)
		}
	}
}

// reaches reports addresses, host:port, whose host is not a service of its own under that port.
func reaches(t *testing.T, name, addresses string, services map[string][]string) {
	t.Helper()
	for address := range strings.SplitSeq(addresses, ",") {
		if u, err := url.Parse(address); err == nil && u.Host != "" {
			address = u.Host
		}
		host, port, err := net.SplitHostPort(address)
		if err != nil || !slices.Contains(services[host], port) {
			t.Errorf("%s: %s is no service of this file (%v)", name, address, services)
		}
	}
}

// TestNATSConfigurationIsForProduction reads configs/nats/nats.conf as a server does.
func TestNATSConfigurationIsForProduction(t *testing.T) {
	services, _ := documents(t, "cluster/compose.yaml")[0].at("services").(map[string]any)
	for name, value := range composeEnvironment(services["nats-1"]) {
		t.Setenv(name, value)
	}
	o, err := natsd.ProcessConfigFile(configs + "nats/nats.conf")
	if err != nil {
		t.Fatal(err)
	}
	if !o.JetStream || !o.SyncAlways || o.JetStreamUniqueTag != "az:" || len(o.Routes) != 3 || o.Cluster.Port != 6222 || o.Port != 4222 {
		t.Errorf("got JetStream %v, sync always %v, unique tag %q, routes %v, ports %d and %d",
			o.JetStream, o.SyncAlways, o.JetStreamUniqueTag, o.Routes, o.Port, o.Cluster.Port)
	}
	if o.MaxPayload != 1<<20 && o.MaxPayload != 1_000_000 {
		t.Errorf("got a payload of %d bytes", o.MaxPayload)
	}
	if o.HTTPHost != "127.0.0.1" || o.NoAuthUser != "" {
		t.Errorf("it is open: monitoring on %q, users without password %q", o.HTTPHost, o.NoAuthUser)
	}
	if o.SystemAccount != "SYS" {
		t.Errorf("got system account %q", o.SystemAccount)
	}
}

// blank fills the templates of configs/cluster in; see scripts/tools/cluster, which does for the development cluster.
type blank struct {
	Name, Kind, Data, NATS, User, Password, PD, Prefix, Secret string
}

func (blank) Port(string) int { return 7999 }
func (blank) Peers() []string { return []string{"127.0.0.1:7997", "127.0.0.1:7998"} }
func (blank) Nowhere() string { return "127.0.0.1:7996" }

func filled(t *testing.T, file string, with blank) string {
	t.Helper()
	page, err := template.ParseFiles(configs + "cluster/" + file)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := page.Execute(&out, with); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), file)
	if err := os.WriteFile(path, out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestTemplatesOfTheDevelopmentClusterAreAccepted(t *testing.T) {
	with := blank{Name: "one", Data: t.TempDir(), NATS: "nats://127.0.0.1:1", PD: "127.0.0.1:2,127.0.0.1:3", Secret: "/secret"}
	server := filled(t, "nats.conf", with)
	permissions, err := os.ReadFile(configs + "nats/permissions.conf")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(filepath.Dir(server), "permissions.conf"), permissions, 0o600); err != nil {
		t.Fatal(err)
	}
	passwords := map[string]string{}
	for _, user := range []string{"provisioner", "edge", "sequencer", "history", "operator", "admin"} {
		passwords["CATENA_"+strings.ToUpper(user)+"_PASSWORD"] = user + "-x"
	}
	users := permitted(t, server, passwords)
	for _, kind := range []string{"edge", "sequencer", "history", "provisioner"} {
		with.Kind, with.User, with.Password = kind, kind, kind+"-x"
		file := filled(t, "catena.yaml", with)
		var roles []string
		if kind == "provisioner" {
			roles = []string{roleSequencer} // it has none, and needs what this one needs
		}
		cfg := accepted(t, kind, conf.Sources{File: file}, roles...)
		hears(t, kind, cfg, users)
		if kind == "edge" {
			replies(t, cfg.NATS.Inbox, users, "sequencer", "history")
		}
		if cfg.Store.Driver == driverTiKV && len(cfg.Store.TiKV.PD) != 2 {
			t.Errorf("%s: got PD %v", kind, cfg.Store.TiKV.PD)
		}
	}
}

// TestSystemdUnitsRunWhatThereIs parses the command lines of the units.
func TestSystemdUnitsRunWhatThereIs(t *testing.T) {
	content, err := os.ReadFile(configs + "systemd/catena@.service")
	if err != nil {
		t.Fatal(err)
	}
	_, line, _ := strings.Cut(string(content), "\nExecStart=")
	line, _, _ = strings.Cut(line, "\n")
	for _, role := range allRoles {
		args := strings.Fields(strings.NewReplacer("%i", role, "%l", "host").Replace(line))
		cmd, flags, err := newRoot().Find(args[1:])
		if err != nil || cmd.Name() != "serve" {
			t.Fatalf("%q runs %v, %v", args, cmd.Name(), err)
		}
		if err := cmd.ParseFlags(flags); err != nil {
			t.Errorf("%q: %v", args, err)
		}
		if node := cmd.Flags().Lookup("node").Value.String(); node != "host-"+role {
			t.Errorf("got node %q", node)
		}
	}
}
