package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/catena-im/catena/pkg/im"
	"github.com/catena-im/catena/services/bench/check"
	"github.com/catena-im/catena/services/bench/check/child"
	"github.com/catena-im/catena/services/bench/check/ensemble"
	"github.com/catena-im/catena/services/bench/check/judge"
	"github.com/catena-im/catena/services/edge/token"
)

// checkTokenTTL is how long the tokens of a check are good for; every connect gets a new one.
const checkTokenTTL = time.Hour

// checking is the flags of the check command.
type checking struct {
	cfg                      check.Config
	faults                   string
	spawn, json              bool
	cluster, clusterTool     string
	harms                    []string
	data                     string
	keyFile, keyID, audience string
	stdout, stderr           io.Writer
	terminal                 bool // stderr is one
	deps                     check.Deps
	kept                     string // folder of a spawned server that is kept for a look
}

func newCheckCommand() *cobra.Command {
	c := &checking{}
	cmd := &cobra.Command{
		Use:   "check",
		Short: "check from outside that a server loses, repeats, reorders and leaks nothing",
		Long: "Let many devices talk through a server while it is killed and its connections are cut, then pull every chain\n" +
			"and compare it with what was acknowledged. Exits with 0 when nothing is wrong, and prints what is, with the\n" +
			"seed, the conversation and the indexes, when something is. Its users are new ones, so it can be pointed at a\n" +
			"server that others use; what it sends stays there.",
		Example: "  catena check --spawn --duration 60s --faults all --json\n" +
			"  catena check --data ./.catena --faults disconnect        # the server that runs on that folder\n" +
			"  catena check --cluster ./.catena-cluster --duration 3m --faults all --rate 60\n" +
			"  catena check --url wss://host/ws --token-key secret.txt --token-key-id main",
		Args: between(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c.stdout, c.stderr = cmd.OutOrStdout(), cmd.ErrOrStderr()
			if f, ok := c.stderr.(*os.File); ok {
				c.terminal = term.IsTerminal(int(f.Fd()))
			}
			return c.run(cmd.Context())
		},
	}
	f := cmd.Flags()
	f.BoolVar(&c.spawn, "spawn", false, "check a server of its own: catena dev as a child process on a temporary folder")
	f.StringVar(&c.cfg.URL, "url", os.Getenv(envURL), "server to check, ws://host:port/ws (or "+envURL+"); default: the one that runs on --data")
	f.StringVar(&c.cluster, "cluster", "", "check the development cluster that runs in this folder, over all its edges; its processes are killed, frozen, stopped and cut off with --faults kill or all")
	f.StringSliceVar(&c.harms, "harms", []string{anyHarm}, "what is done to the processes of --cluster, patterns such as kill-*,isolate-sequencer; a wrong one tells all there are")
	f.StringVar(&c.clusterTool, "cluster-tool", "", "command line of the tool that handles the cluster's processes; default: go run ./scripts/tools/cluster, in the repository's root")
	f.StringVar(&c.data, "data", orElse(os.Getenv(envData), defaultData), "data folder of the development server, whose key signs the tokens (or "+envData+")")
	f.StringVar(&c.keyFile, "token-key", "", "file with the HS256 secret that signs the tokens instead, as in auth.keys of the server")
	f.StringVar(&c.keyID, "token-key-id", "", "the secret's id (kid) at the server")
	f.StringVar(&c.audience, "audience", token.DefaultAudience, "the server's auth.audience")
	f.DurationVar(&c.cfg.Duration, "duration", time.Minute, "how long the devices talk")
	f.DurationVar(&c.cfg.Settle, "settle", time.Minute, "how long the server may take to come to rest after that")
	f.IntVar(&c.cfg.Users, "users", 20, "number of users")
	f.IntVar(&c.cfg.Groups, "groups", 5, "number of groups")
	f.IntVar(&c.cfg.Devices, "devices", 2, "devices of each user")
	f.Float64Var(&c.cfg.Rate, "rate", 150, "messages per second, of all devices together")
	f.Uint64Var(&c.cfg.Seed, "seed", 0, "what is decided by chance follows from it; 0 chooses one")
	f.StringVar(&c.faults, "faults", string(check.FaultsNone), "what is done to server and clients: none|kill|disconnect|all; kill needs --spawn or --cluster, and all leaves it out without")
	f.BoolVar(&c.json, "json", false, "print the result as one JSON object")
	return cmd
}

// anyHarm is the pattern of all harms.
const anyHarm = "*"

// contradiction is what is wrong with the flags taken together.
func (c *checking) contradiction() error {
	faults := check.Faults(c.faults)
	kills := faults == check.FaultsKill || faults == check.FaultsAll
	switch {
	case c.spawn && c.cfg.URL != "":
		return usageError{errors.New("--spawn starts a server of its own, and --url names another; give one of them")}
	case c.cluster != "" && (c.spawn || c.cfg.URL != ""):
		return usageError{errors.New("--cluster names a server that runs, and --spawn or --url another; give one of them")}
	case faults == check.FaultsKill && !c.spawn && c.cluster == "":
		return usageError{errors.New("--faults kill needs a server that check may kill: give --spawn or --cluster, or another --faults")}
	case !slices.Equal(c.harms, []string{anyHarm}) && (c.cluster == "" || !kills):
		return usageError{errors.New("--harms picks what is done to the processes of a cluster: give --cluster and --faults kill or all, too")}
	}
	return nil
}

func (c *checking) run(ctx context.Context) error {
	if err := c.contradiction(); err != nil {
		return err
	}
	c.cfg.Faults = check.Faults(c.faults)
	c.deps.Progress = c.progress
	perform := c.checkRunning
	switch {
	case c.spawn:
		perform = c.checkSpawned
	case c.cluster != "":
		perform = c.checkCluster
	}
	result, err := perform(ctx)
	if c.terminal {
		fmt.Fprint(c.stderr, clearLine)
	}
	if err != nil {
		result.Troubles = append(result.Troubles, err.Error())
	}
	if printed := c.print(result, err); printed != nil {
		return printed
	}
	if c.kept != "" {
		fmt.Fprintf(c.stderr, "the server's data and log are kept in %s\n", c.kept)
	}
	switch {
	case err != nil:
		return err
	case !result.OK:
		return fmt.Errorf("the check failed (seed %d)", result.Seed)
	}
	return nil
}

// print writes the result to stdout; without --json only when there is one.
func (c *checking) print(result check.Result, err error) error {
	if !c.json {
		if err == nil {
			result.Print(c.stdout)
		}
		return nil
	}
	if result.FaultsByKind == nil { // the run did not begin
		result.FaultsByKind, result.Violations = map[string]int{}, []judge.Violation{}
		result.Felt, result.Incidents = map[string]check.Felt{}, []check.Incident{}
	}
	if err := json.NewEncoder(c.stdout).Encode(result); err != nil {
		return fmt.Errorf("print the result: %w", err)
	}
	return nil
}

const clearLine = "\r\x1b[K"

// progress shows where the run stands: on one line of a terminal, else on a line each.
func (c *checking) progress(s check.Status) {
	if c.terminal {
		fmt.Fprint(c.stderr, clearLine, s)
		return
	}
	fmt.Fprintln(c.stderr, s)
}

// checkRunning checks a server that runs already.
func (c *checking) checkRunning(ctx context.Context) (check.Result, error) {
	if c.cfg.URL == "" {
		run, err := ReadRunFile(c.data)
		if errors.Is(err, fs.ErrNotExist) {
			return check.Result{}, fmt.Errorf("no server found in %s: no `catena dev` runs on that folder\n"+
				"let check start one with --spawn, or name one with --url ws://host:port/ws", c.data)
		} else if err != nil {
			return check.Result{}, err
		}
		c.cfg.URL = run.WSURL
	}
	key, err := c.key()
	if err != nil {
		return check.Result{}, err
	}
	c.cfg.Run = newRun()
	return c.check(ctx, key)
}

// newRun is a name that no other run against the same server has, so that its users are new ones.
func newRun() string { return "check" + strconv.FormatInt(time.Now().UnixMilli(), 36) }

// checkCluster checks a development cluster through all its edges and does harm to its processes.
func (c *checking) checkCluster(ctx context.Context) (check.Result, error) {
	e, err := ensemble.Open(ensemble.Config{Dir: c.cluster, Tool: strings.Fields(c.clusterTool)})
	if err != nil {
		return check.Result{}, err
	}
	urls := e.URLs()
	c.cfg.URL, c.cfg.Also, c.cfg.Run = urls[0], urls[1:], newRun()
	c.deps.Sound = e.Sound
	if c.deps.Harms, err = choose(e.Harms(), c.harms); err != nil {
		return check.Result{}, usageError{fmt.Errorf("--harms: %w", err)}
	}
	key, err := AuthKey{ID: ensemble.TokenKeyID, Algorithm: token.HS256, File: e.TokenKey()}.load()
	if err != nil {
		return check.Result{}, err
	}
	return c.check(ctx, key)
}

// choose is the harms that patterns mean.
func choose(all []check.Harm, patterns []string) ([]check.Harm, error) {
	var chosen []check.Harm
	var kinds []string
	met := make([]bool, len(patterns))
	for _, h := range all {
		kinds = append(kinds, h.Kind)
		wanted := false
		for i, pattern := range patterns {
			ok, err := path.Match(pattern, h.Kind)
			if err != nil {
				return nil, fmt.Errorf("%q: %w", pattern, err)
			}
			met[i], wanted = met[i] || ok, wanted || ok
		}
		if wanted {
			chosen = append(chosen, h)
		}
	}
	for i, pattern := range patterns {
		if !met[i] {
			return nil, fmt.Errorf("%q is none of %s", pattern, strings.Join(kinds, ", "))
		}
	}
	return chosen, nil
}

// key is what signs the tokens for a running server.
func (c *checking) key() (token.Key, error) {
	if c.keyFile == "" {
		return LoadKey(c.data)
	}
	return AuthKey{ID: c.keyID, Algorithm: token.HS256, File: c.keyFile}.load()
}

// checkSpawned checks a server of its own, whose folder is kept when something is wrong.
func (c *checking) checkSpawned(ctx context.Context) (result check.Result, err error) {
	folder, err := os.MkdirTemp("", "catena-check-")
	if err != nil {
		return check.Result{}, err
	}
	defer func() {
		if result.OK || ctx.Err() != nil {
			err = errors.Join(err, os.RemoveAll(folder))
		} else {
			c.kept = folder
		}
	}()
	program, err := os.Executable()
	if err != nil {
		return check.Result{}, err
	}
	data := filepath.Join(folder, "data")
	key, err := LoadOrCreateKey(data)
	if err != nil {
		return check.Result{}, err
	}
	server := child.Config{
		Command: func(listen string) []string {
			return []string{program, "dev", "--data", data, "--listen", listen, "--nats-listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0",
				"--partitions-conv", "2", "--partitions-user", "2"} // what goes between partitions is checked on every machine
		},
		Data: data, Log: filepath.Join(folder, "server.log"),
		// What configures a server of the user's must not configure this one.
		Env: slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "CATENA_") }),
	}
	err = child.Run(ctx, server, func(ctx context.Context, server *child.Child) error {
		c.cfg.URL, c.deps.Crash, c.deps.Died = server.URL(), server.Crash, server.Died()
		result, err = c.check(ctx, key)
		return err
	})
	return result, err
}

func (c *checking) check(ctx context.Context, key token.Key) (check.Result, error) {
	c.deps.Token = func(user string) (string, error) {
		return token.Issue(key, c.audience, token.Claims{User: im.UserID(user), Expires: time.Now().Add(checkTokenTTL)})
	}
	run, err := check.New(c.cfg, c.deps)
	if err != nil {
		return check.Result{}, usageError{err}
	}
	return run.Run(ctx)
}
