// Package child runs a server as a child process that can be killed without warning and started again at the same
// address. The server tells that it is ready, and where, in a run file in its data folder. The child never outlives Run;
// on Linux it does not outlive this process either, however that ends.
package child

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"time"
)

const (
	anyPort       = "127.0.0.1:0"
	readyPoll     = 20 * time.Millisecond
	defaultWithin = 30 * time.Second
	logTail       = 2 << 10 // bytes of the log that an error shows
)

// Config says what to run.
type Config struct {
	// Command is the program and its arguments for a server that listens at host:port.
	Command func(listen string) []string
	Data    string        // folder in which the server writes run.json when it is ready: {"pid": 1, "ws_url": "ws://…"}
	Log     string        // file to which the output of the server is added
	Env     []string      // nil: that of this process
	Within  time.Duration // in which the server must be ready; 0: 30 s
}

// Child is a server that runs as a child process.
type Child struct {
	cfg    Config
	died   chan error
	living sync.WaitGroup // one for each process

	mu      sync.Mutex // guards the fields below
	process *process
	url     string // of the first start; later ones listen at the same address
}

// process is one start of the server.
type process struct {
	pid    int
	cmd    *exec.Cmd
	gone   chan struct{} // closed when the process has ended; err is set then
	err    error
	wanted bool // its end is; guarded by Child.mu
}

// Run starts the server, calls use when it is ready, and kills it when use returns or panics.
func Run(ctx context.Context, c Config, use func(context.Context, *Child) error) error {
	if c.Within == 0 {
		c.Within = defaultWithin
	}
	child := &Child{cfg: c, died: make(chan error, 1)}
	defer child.living.Wait()
	defer child.kill()
	if err := child.start(ctx, anyPort); err != nil {
		return err
	}
	return use(ctx, child)
}

// URL is where the server listens.
func (c *Child) URL() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.url
}

// Died brings an error when the server ends without having been killed from here.
func (c *Child) Died() <-chan error { return c.died }

// Crash kills the server without warning, starts it again at the same address and returns when it is ready. It must not
// be called twice at the same time.
func (c *Child) Crash(ctx context.Context) error {
	u, err := url.Parse(c.URL())
	if err != nil {
		return fmt.Errorf("address of the server: %w", err)
	}
	c.kill()
	return c.start(ctx, u.Host)
}

// kill ends the process that runs, if any, and waits for its end.
func (c *Child) kill() {
	c.mu.Lock()
	p := c.process
	if p != nil {
		p.wanted = true
	}
	c.mu.Unlock()
	if p == nil {
		return
	}
	_ = p.cmd.Process.Kill() // fails when it has ended already
	<-p.gone
}

// start starts a process and waits until it is ready.
func (c *Child) start(ctx context.Context, listen string) error {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Within)
	defer cancel()
	p, err := c.spawn(listen)
	if err != nil {
		return fmt.Errorf("start the server: %w", err)
	}
	tick := time.NewTicker(readyPoll)
	defer tick.Stop()
	for {
		select {
		case <-p.gone:
			return fmt.Errorf("the server ended before it was ready: %w%s", errors.Join(p.err, errEnded), c.lastWords())
		case <-ctx.Done():
			return fmt.Errorf("the server was not ready within %v%s", c.cfg.Within, c.lastWords())
		case <-tick.C:
		}
		if at := c.ready(p.pid); at != "" {
			c.mu.Lock()
			c.url = at
			c.mu.Unlock()
			return nil
		}
	}
}

var errEnded = errors.New("it ended by itself")

// spawn starts a process. The goroutine that starts it keeps its thread until the process ends, since on Linux the
// child is to die with its parent, and the kernel takes the thread that forked for the parent.
func (c *Child) spawn(listen string) (*process, error) {
	command := c.cfg.Command(listen)
	log, err := os.OpenFile(c.cfg.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	p := &process{cmd: exec.Command(command[0], command[1:]...), gone: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr, p.cmd.Env, p.cmd.SysProcAttr = log, log, c.cfg.Env, attributes()
	started := make(chan error)
	c.living.Go(func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer log.Close()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			c.wait(p)
		}
	})
	if err := <-started; err != nil {
		return nil, err
	}
	p.pid = p.cmd.Process.Pid
	c.mu.Lock()
	c.process = p
	c.mu.Unlock()
	return p, nil
}

// wait sees a process to its end.
func (c *Child) wait(p *process) {
	p.err = p.cmd.Wait()
	c.mu.Lock()
	wanted := p.wanted
	c.mu.Unlock()
	close(p.gone)
	if wanted {
		return
	}
	select {
	case c.died <- fmt.Errorf("%w%s", errors.Join(p.err, errEnded), c.lastWords()):
	default: // one is enough
	}
}

// ready returns where the process listens, when its run file says so. An earlier process may have left its own.
func (c *Child) ready(pid int) string {
	content, err := os.ReadFile(filepath.Join(c.cfg.Data, "run.json"))
	if err != nil {
		return ""
	}
	var run struct {
		PID   int    `json:"pid"`
		WSURL string `json:"ws_url"`
	}
	if json.Unmarshal(content, &run) != nil || run.PID != pid {
		return ""
	}
	return run.WSURL
}

// lastWords is the end of the log.
func (c *Child) lastWords() string {
	content, err := os.ReadFile(c.cfg.Log)
	if err != nil || len(content) == 0 {
		return ""
	}
	return fmt.Sprintf("; the end of its log:\n%s", content[max(0, len(content)-logTail):])
}
