//go:build unix

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/catena-im/catena/scripts/tools/cluster/link"
)

// asProcess makes a run of the test binary be a process of a cluster: it says that it is ready and ends by SIGTERM, or
// with "deaf" by SIGKILL only.
const asProcess = "RUN_AS_PROCESS"

func TestMain(m *testing.M) {
	kind := os.Getenv(asProcess)
	if kind == "" {
		os.Exit(m.Run())
	}
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM)
	fmt.Println("ready for the test")
	for range ended {
		if kind != "deaf" {
			return
		}
	}
}

// lone is a cluster of one process.
func lone(t *testing.T, kind string) (*cluster, *process, *strings.Builder) {
	t.Helper()
	out := new(strings.Builder)
	dir := t.TempDir()
	p := &process{Name: "one", Log: filepath.Join(dir, "one.log"), Run: filepath.Join(dir, "one.pid"),
		args: []string{os.Args[0]}, env: []string{asProcess + "=" + kind}}
	p.ready = says(p.Log, "ready for the test")
	c := &cluster{options: options{dir: dir, timeout: 20 * time.Second}, processes: []*process{p}, out: out}
	t.Cleanup(func() {
		if err := c.kill(p); err != nil {
			t.Error(err)
		}
	})
	return c, p, out
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func running(t *testing.T, p *process) int {
	t.Helper()
	pid, ok, err := p.alive()
	must(t, err)
	if !ok {
		return 0
	}
	return pid
}

func TestProcessIsStartedStoppedAndKilled(t *testing.T) {
	c, p, out := lone(t, "polite")
	must(t, c.startNamed(t.Context(), []string{"o*"}))
	pid := running(t, p)
	must(t, c.startNamed(t.Context(), []string{"one"}))
	if again := running(t, p); again != pid || pid == 0 {
		t.Errorf("started twice: pid %d, then %d", pid, again)
	}
	must(t, c.pause(p))
	if s := p.condition(t.Context()).String(); s != fmt.Sprintf("paused (pid %d)", pid) {
		t.Errorf("got %q of a paused process", s)
	}
	must(t, c.resume(p))
	if s := p.condition(t.Context()).String(); s != fmt.Sprintf("ready (pid %d)", pid) {
		t.Errorf("got %q of one that goes on", s)
	}
	must(t, c.pause(p))
	must(t, c.stop(p, c.timeout)) // although it is paused
	if pid := running(t, p); pid != 0 || p.condition(t.Context()).String() != "stopped" {
		t.Errorf("pid %d runs after the stop", pid)
	}
	if strings.Contains(out.String(), "does not stop") {
		t.Errorf("the process was not let end: %s", out)
	}
	must(t, c.startNamed(t.Context(), []string{"one"}))
	must(t, c.kill(p))
	if pid := running(t, p); pid != 0 {
		t.Errorf("pid %d runs after the kill", pid)
	}
	if err := c.resume(p); err == nil || !strings.Contains(err.Error(), "one does not run") {
		t.Errorf("resuming what does not run: %v", err)
	}
}

func TestProcessThatDoesNotStopIsKilled(t *testing.T) {
	c, p, out := lone(t, "deaf")
	must(t, c.startNamed(t.Context(), []string{"one"}))
	must(t, c.stop(p, time.Millisecond))
	if running(t, p) != 0 || !strings.Contains(out.String(), "does not stop") {
		t.Errorf("it runs, or nothing is said: %s", out)
	}
}

// TestPidOfAnotherProcessIsLeftAlone: the pid in the file was given to somebody else, here to this test.
func TestPidOfAnotherProcessIsLeftAlone(t *testing.T) {
	c, p, out := lone(t, "polite")
	must(t, os.WriteFile(p.Run, []byte(strconv.Itoa(os.Getpid())), 0o600))
	must(t, c.kill(p))
	must(t, c.stop(p, time.Second))
	if !strings.Contains(out.String(), "one does not run") {
		t.Errorf("got %q", out)
	}
}

func TestProcessThatEndsAtOnceIsReported(t *testing.T) {
	c, p, _ := lone(t, "polite")
	p.args = []string{"/bin/sh", "-c", "echo the port is taken; exit 1"}
	err := c.startAll(t.Context(), []*process{p})
	if err == nil || !strings.Contains(err.Error(), "one ended") || !strings.Contains(err.Error(), "the port is taken") {
		t.Errorf("got %v, want the end of the log", err)
	}
}

func TestReadinessIsAsked(t *testing.T) {
	status := http.StatusServiceUnavailable
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		fmt.Fprintln(w, "no leader yet")
	}))
	defer s.Close()
	if err := answers(s.URL)(t.Context()); err == nil || err.Error() != "no leader yet" {
		t.Errorf("got %v of a server that is not ready", err)
	}
	status = http.StatusOK
	must(t, answers(s.URL)(t.Context()))
}

func TestLogIsReadFromTheLastStart(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	ready := says(log, "ready")
	for text, want := range map[string]bool{
		startMark + "x\nready\n":                             true,
		startMark + "x\nready\n" + startMark + "y\n":         false,
		startMark + "x\n" + startMark + "y\nhm\nready now\n": true,
		startMark + "ready\nnot ready\n":                     false,
	} {
		must(t, os.WriteFile(log, []byte(text), 0o600))
		if err := ready(t.Context()); (err == nil) != want {
			t.Errorf("%q: got %v, want ready %v", text, err, want)
		}
	}
}

func TestPortsAreApart(t *testing.T) {
	c := newCluster(options{}, wanted{Base: 7500, Edges: maxOfAKind, Sequencers: maxOfAKind, Histories: maxOfAKind}, io.Discard)
	seen := map[int]string{}
	for _, p := range c.processes {
		for use, port := range p.Ports {
			name := p.Name + " " + use
			if other := seen[port]; other != "" || port < 7500 || port > 7598 {
				t.Errorf("port %d of %s is that of %s, or outside of the hundred", port, name, other)
			}
			seen[port] = name
		}
	}
	for _, l := range c.links() {
		name := l.From + " to " + l.To
		port, err := strconv.Atoi(strings.TrimPrefix(l.Listen, "127.0.0.1:"))
		must(t, err)
		if other := seen[port]; other != "" || port < 7600 || port >= 7500+ports {
			t.Errorf("port %d of %s is that of %s, or out of range", port, name, other)
		}
		seen[port] = name
	}
}

// TestLinksLeadToThePorts: what a process connects to is a link, and the link leads to where the other one listens.
func TestLinksLeadToThePorts(t *testing.T) {
	c := newCluster(options{}, wanted{Base: 7500, Edges: 1, Sequencers: 1, Histories: 1}, io.Discard)
	for way, want := range map[[2]string]int{
		{"sequencer-1", "nats-2"}: 7502, {"history-1", "tikv"}: 7531, {"edge-1", "nats-1"}: 7501, {"nats-3", "nats-1"}: 7511, {"tikv", "pd"}: 7530,
	} {
		at := slices.IndexFunc(c.links(), func(l link.Link) bool { return l.From == way[0] && l.To == way[1] })
		if l := c.links()[at]; l.Target != local(want) || l.Listen != c.way(way[0], way[1]) {
			t.Errorf("%v: got %+v, want port %d", way, l, want)
		}
	}
	pair := c.way("sequencer-1", "pd") + "=" + c.way("sequencer-1", "tikv")
	if pd := c.kind("pd")[0]; !slices.ContainsFunc(pd.args, func(a string) bool { return strings.Contains(a, pair+",") }) {
		t.Errorf("pd does not know %s: %q", pair, pd.args)
	}
	if tikv := c.kind("tikv")[0]; !slices.Contains(tikv.args, c.way("tikv", "pd")) {
		t.Errorf("the store does not take its link to pd: %q", tikv.args)
	}
	c = newCluster(options{}, wanted{Base: 7500, Edges: 1, Sequencers: 1, Histories: 1, PD: "pd:2379"}, io.Discard)
	if slices.ContainsFunc(c.links(), func(l link.Link) bool { return l.To == "pd" || l.To == "tikv" }) {
		t.Error("there are links to a TiKV whose PD tells other addresses")
	}
}

// TestCutAndHeal takes the links of a cluster that does not run.
func TestCutAndHeal(t *testing.T) {
	out := new(strings.Builder)
	w := wanted{Edges: 1, Sequencers: 1, Histories: 1}
	var err error
	w.Base, err = freeBase(w)
	must(t, err)
	dir := t.TempDir()
	c := newCluster(options{dir: dir, json: true}, w, out)
	must(t, os.MkdirAll(filepath.Join(dir, "data", "tikv", "store"), 0o700))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- c.carry(ctx) }()
	defer func() {
		cancel()
		must(t, <-ended)
	}()
	for err := c.kind("links")[0].ready(ctx); err != nil; err = c.kind("links")[0].ready(ctx) {
		if len(ended) > 0 {
			t.Fatal(<-ended)
		}
	}
	must(t, c.cut(ctx, []string{"sequencer-1", "nats-[12]", "tikv"}, link.Fault{LoseTo: true}))
	must(t, c.cut(ctx, []string{"tikv", "pd"}, link.Fault{Cut: true}))
	must(t, c.cut(ctx, []string{"tikv", "history-1"}, link.Fault{LoseTo: true})) // seen from the other side
	must(t, c.slowDisk([]string{"tikv", "20ms"}))
	out.Reset()
	must(t, c.status(ctx))
	var s shown
	must(t, json.Unmarshal([]byte(out.String()), &s))
	if got, want := fmt.Sprint(faulty(s.Links)), "[sequencer-1 nats-1 loses what is sent sequencer-1 nats-2 loses what is sent "+
		"sequencer-1 tikv loses what is sent history-1 tikv loses what comes back tikv pd cut]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if p := s.Processes[0]; p.Name != "links" || p.State != "stopped" { // it is this test
		t.Errorf("got %+v", p)
	}
	must(t, c.heal(ctx, []string{"sequencer-1", "nats-*"}))
	if broken, err := c.broken(ctx); err != nil || len(broken) != 3 {
		t.Errorf("got %v, %v", broken, err)
	}
	out.Reset()
	must(t, c.heal(ctx, nil))
	if !strings.Contains(out.String(), "tikv: no fsync takes longer") {
		t.Errorf("the disk is healed without a word: %s", out)
	}
	broken, err := c.broken(ctx)
	if _, slow := os.Stat(filepath.Join(dir, "data", "tikv", "store", "fsync-delay")); err != nil || len(broken) > 0 || slow == nil {
		t.Errorf("not healed: %v, %v, disk %v", broken, err, slow)
	}
	for _, names := range [][]string{{"edge-1"}, {"edge-1", "tikv"}, {"edge-1", "edge-1"}, {"x", "edge-1"}} {
		if err := c.cut(ctx, names, link.Fault{}); err == nil {
			t.Errorf("%v is taken", names)
		}
	}
}

func faulty(all []link.State) (texts []string) {
	for _, s := range all {
		texts = append(texts, s.From, s.To, s.Fault.String())
	}
	return texts
}

func TestFlagsSayWhatACutIs(t *testing.T) {
	for args, want := range map[string]link.Fault{
		"":           {Cut: true},
		"--silent":   {LoseTo: true, LoseFrom: true},
		"--one-way":  {LoseTo: true},
		"--delay 1s": {Delay: time.Second},
	} {
		_, o, _, err := parse(append([]string{"cut"}, strings.Fields(args)...))
		must(t, err)
		if got, err := o.fault(); err != nil || got != want {
			t.Errorf("%s: got %v, %v", args, got, err)
		}
	}
	_, o, _, err := parse([]string{"cut", "--silent", "--delay", "1s"})
	must(t, err)
	if _, err := o.fault(); err == nil {
		t.Error("two things at once are taken")
	}
}

func TestFoldersAreFound(t *testing.T) {
	top := t.TempDir()
	deep := filepath.Join(top, "services", "catena")
	must(t, os.MkdirAll(deep, 0o700))
	t.Chdir(deep)
	_, o, _, err := parse([]string{"status"})
	must(t, err)
	if o.dir != filepath.Join(deep, folder) || o.root != "" {
		t.Errorf("outside of a repository: %s, %s", o.dir, o.root)
	}
	must(t, os.WriteFile(filepath.Join(top, mark), nil, 0o600))
	_, o, _, err = parse([]string{"status"})
	must(t, err)
	if o.dir != filepath.Join(top, folder) || o.root != top {
		t.Errorf("in a repository: %s, %s", o.dir, o.root)
	}
	c := newCluster(options{dir: top, root: "/the/root"}, wanted{Base: 7500, Edges: 1, Sequencers: 1, Histories: 1}, io.Discard)
	must(t, c.save())
	c, err = load(options{dir: top}, io.Discard)
	must(t, err)
	if c.root != "/the/root" {
		t.Errorf("the root is not remembered: %q", c.root)
	}
}

func TestGreetingNamesAFolderThatIsNotTheUsualOne(t *testing.T) {
	root := t.TempDir()
	for dir, want := range map[string]string{
		filepath.Join(root, folder):  "cluster:down\n",
		filepath.Join(root, "other"): "cluster:down -- --dir " + filepath.Join(root, "other") + "\n",
	} {
		out := new(strings.Builder)
		c := newCluster(options{dir: dir, root: root}, wanted{Base: defaultBase, Edges: 1}, out)
		must(t, os.MkdirAll(filepath.Join(dir, "bin"), 0o700))
		must(t, os.WriteFile(c.bin("catena"), []byte("#!/bin/sh\necho token\n"), 0o700))
		must(t, c.greet(t.Context()))
		if !strings.Contains(out.String(), want) || strings.Contains(out.String(), "%!") {
			t.Errorf("got %s\nwant %q in it", out, want)
		}
	}
}

func TestWhatTheClusterIsStays(t *testing.T) {
	w := wanted{Base: 7500, Edges: 2, Sequencers: 2, Histories: 2}
	flags := wanted{Base: 9000, Edges: 3, Sequencers: 3}
	got, err := w.over(flags)
	if err != nil || got.Edges != 2 || got.Base != 7500 {
		t.Errorf("without flags: %+v, %v", got, err)
	}
	flags.given = []string{"edges"}
	if got, err = w.over(flags); err != nil || got.Edges != 3 || got.Sequencers != 2 {
		t.Errorf("with --edges 3: %+v, %v", got, err)
	}
	flags.given = []string{"base-port"}
	if _, err = w.over(flags); err == nil || !strings.Contains(err.Error(), "--base-port 9000") {
		t.Errorf("with other ports: %v", err)
	}
	if _, err = w.over(wanted{PD: "pd:2379"}); err == nil || !strings.Contains(err.Error(), "TIKV_PD") {
		t.Errorf("with another TiKV: %v", err)
	}
}

func TestNamesArePatterns(t *testing.T) {
	c := newCluster(options{}, wanted{Base: 7500, Edges: 2, Sequencers: 2, Histories: 1}, io.Discard)
	for names, want := range map[string]string{
		"edge-1":              "edge-1",
		"edge-*":              "edge-1 edge-2",
		"sequencer-2 edge-1":  "sequencer-2 edge-1",
		"edge-1 edge-*":       "edge-1 edge-2",
		"edge-* edge-1 tikv":  "edge-1 edge-2 tikv",
		"nats-[12] nats-1 pd": "nats-1 nats-2 pd",
	} {
		found, err := c.match(strings.Fields(names))
		must(t, err)
		var got []string
		for _, p := range found {
			got = append(got, p.Name)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: got %v, want %s", names, got, want)
		}
	}
	for _, names := range [][]string{nil, {"edge"}, {"edge-1", "edge-9"}, {"["}} {
		if _, err := c.match(names); err == nil {
			t.Errorf("%v is taken", names)
		}
	}
}

// TestConfigurationsAreFilledIn renders the templates of configs/cluster for a whole cluster.
func TestConfigurationsAreFilledIn(t *testing.T) {
	root, err := filepath.Abs("../../..")
	must(t, err)
	dir := t.TempDir()
	must(t, os.Mkdir(filepath.Join(dir, "conf"), 0o700))
	c := newCluster(options{dir: dir, root: root}, wanted{Base: 7500, Edges: 1, Sequencers: 1, Histories: 1}, io.Discard)
	must(t, c.makeSecrets())
	must(t, c.render())
	for name, parts := range map[string][]string{
		"nats-2.conf":      {`server_name: "nats-2"`, "127.0.0.1:7502", "nats://127.0.0.1:7740", "nats://127.0.0.1:7742", "no_advertise: true", `advertise: "127.0.0.1:7599"`, "sync_interval: always"},
		"edge-1.yaml":      {"roles: [edge]", "127.0.0.1:7541", "127.0.0.1:7551", "nats://127.0.0.1:7690,nats://127.0.0.1:7691,nats://127.0.0.1:7692", "user: \"edge\"", "_INBOX_edge", "token.key"},
		"sequencer-1.yaml": {"roles: [sequencer]", "127.0.0.1:7561", "pd: [127.0.0.1:7603]", "nats://127.0.0.1:7600,nats://127.0.0.1:7601"},
		"provisioner.yaml": {"user: \"provisioner\"", "replicas: 3", "nats://127.0.0.1:7501", "pd: [127.0.0.1:7530]"},
		"permissions.conf": {"accounts {"},
	} {
		text, err := os.ReadFile(c.conf(name))
		must(t, err)
		for _, part := range parts {
			if !strings.Contains(string(text), part) {
				t.Errorf("%s lacks %q:\n%s", name, part, text)
			}
		}
		if name == "edge-1.yaml" && strings.Contains(string(text), "tikv") {
			t.Errorf("the edge knows the store:\n%s", text)
		}
	}
}

func TestCommandsWithoutAClusterSayWhatToDo(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "none")
	for _, command := range []string{"down", "status", "kill", "nonsense"} {
		err := run(context.Background(), []string{command, "--dir", dir, "x"}, nil, io.Discard)
		if err == nil || !strings.Contains(err.Error(), "bring one up first") {
			t.Errorf("%s: %v", command, err)
		}
	}
}
