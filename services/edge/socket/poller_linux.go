package socket

import (
	"context"
	"fmt"
	"net"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	maxEvents  = 512      // connections that one look at a poller tells about
	readBytes  = 64 << 10 // of each reader's buffer
	inTurn     = 8        // connections that a reader reads before it lets other goroutines go first
	readerEach = 32       // connections with something to read, for each reader
)

// Poller watches connections.
type Poller struct {
	epoll   int // the kernel's side of it
	alarm   int // an eventfd that ends a wait
	started time.Time
	buffers [][]byte // one for each reader

	mu     sync.Mutex // guards the fields below
	conns  map[int32]*Conn
	closed bool // and so are epoll and alarm
}

// NewPoller makes a poller; Run makes it work, with so many readers at the most.
func NewPoller(readers int) (*Poller, error) {
	p := &Poller{started: time.Now(), conns: make(map[int32]*Conn), buffers: make([][]byte, max(1, readers))}
	for i := range p.buffers {
		p.buffers[i] = make([]byte, readBytes)
	}
	var err error
	if p.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, fmt.Errorf("epoll_create1: %w", err)
	}
	if p.alarm, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		_ = unix.Close(p.epoll)
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	if err := p.control(unix.EPOLL_CTL_ADD, p.alarm, unix.EPOLLIN); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

// Run reads what comes until ctx ends; connections must have been closed by then. After each look at them it asks rest
// how long to leave them alone.
func (p *Poller) Run(ctx context.Context, rest func() time.Duration) error {
	defer p.close()
	defer context.AfterFunc(ctx, p.ring)()
	events := make([]unix.EpollEvent, maxEvents)
	var due []*Conn
	for ctx.Err() == nil {
		wait := -1        // until something comes
		if len(due) > 0 { // there may be more on these
			wait = 0
		}
		n, err := unix.EpollWait(p.epoll, events, wait)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("epoll_wait: %w", err)
		}
		due = p.read(p.told(due, events[:n]))
		if n == len(events) || len(due) > 0 {
			continue
		}
		if d := rest(); d > 0 {
			time.Sleep(d)
		} else {
			runtime.Gosched() // those that were woken go first: the wait keeps this goroutine's place until the runtime notices
		}
	}
	return nil
}

// told adds the connections to due that something has come for, and wakes writers.
func (p *Poller) told(due []*Conn, events []unix.EpollEvent) []*Conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range events {
		c := p.conns[e.Fd]
		if c == nil { // the alarm, or closed meanwhile; an event that meets the next user of the descriptor does no harm
			continue
		}
		if e.Events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
			c.ending.Store(true)
		}
		c.wakeWriter()
		if e.Events&^unix.EPOLLOUT != 0 && !c.due {
			c.due, due = true, append(due, c)
		}
	}
	return due
}

// read reads connections, and returns those that may have more, in the same memory.
func (p *Poller) read(due []*Conn) (left []*Conn) {
	var next atomic.Int64
	var helpers sync.WaitGroup
	work := func(buf []byte) {
		for done := 1; ; done++ {
			at := int(next.Add(1)) - 1
			if at >= len(due) {
				return
			}
			due[at].due = due[at].receive(buf)
			if done%inTurn == 0 {
				runtime.Gosched()
			}
		}
	}
	for i := 1; i < min(len(p.buffers), 1+len(due)/readerEach); i++ {
		helpers.Go(func() { work(p.buffers[i]) })
	}
	work(p.buffers[0])
	helpers.Wait()
	return slices.DeleteFunc(due, func(c *Conn) bool { return !c.due })
}

// Adopt returns the connection to use from now on in place of c. That is c itself when c is not TCP, such as one with TLS,
// or when it could not be adopted, such as when descriptors are used up. Whoever wants to know what comes calls Receive.
func (p *Poller) Adopt(c net.Conn) net.Conn {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return c
	}
	adopted, err := p.adopt(tcp)
	if err != nil {
		return c
	}
	_ = tcp.Close() // the adopted one has a descriptor of its own
	return adopted
}

// Receive tells r what comes on c from now on. It is called once for each connection.
func (p *Poller) Receive(c net.Conn, r Receiver) {
	if c, ok := c.(*Conn); ok {
		c.begin(r)
		return
	}
	go receiveAlone(c, r)
}

func (p *Poller) adopt(tcp *net.TCPConn) (*Conn, error) {
	var fd int
	err := control(tcp, func(old int) (err error) {
		fd, err = unix.FcntlInt(uintptr(old), unix.F_DUPFD_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return nil, err
	}
	file, err := unwatched(fd)
	if err != nil {
		return nil, err
	}
	c := &Conn{file: file, fd: int32(fd), poller: p, local: tcp.LocalAddr(), remote: tcp.RemoteAddr()}
	if err := p.add(c); err != nil {
		_ = file.Close()
		return nil, err
	}
	return c, nil
}

// unwatched returns a file for a socket that does not block, and that Go's own poller does not watch: os.NewFile leaves
// to it what does not block at the time.
func unwatched(fd int) (*os.File, error) {
	if err := unix.SetNonblock(fd, false); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	file := os.NewFile(uintptr(fd), "socket")
	if err := unix.SetNonblock(fd, true); err != nil {
		_ = file.Close()
		return nil, err
	}
	return file, nil
}

func (p *Poller) add(c *Conn) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.control(unix.EPOLL_CTL_ADD, int(c.fd), unix.EPOLLET&0xffffffff); err != nil {
		return err
	}
	p.conns[c.fd] = c
	return nil
}

// watch sets what is told about c: each time that something comes, and each time that there is room again for a writer.
// The caller keeps the descriptor open.
func (p *Poller) watch(c *Conn) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	events := uint32(unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLET&0xffffffff)
	if c.writable.Load() != nil {
		events |= unix.EPOLLOUT
	}
	return p.control(unix.EPOLL_CTL_MOD, int(c.fd), events)
}

// forget is for a connection that is about to close: its descriptor may soon be another one's. The kernel forgets what is
// closed, too, but a thread that looks at it meanwhile would hold it open until its wait ends.
func (p *Poller) forget(c *Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conns[c.fd] == c {
		delete(p.conns, c.fd)
		_ = p.control(unix.EPOLL_CTL_DEL, int(c.fd), 0)
	}
}

// control is epoll_ctl. Whoever may meet close holds the lock.
func (p *Poller) control(op, fd int, events uint32) error {
	if p.closed {
		return net.ErrClosed
	}
	if err := unix.EpollCtl(p.epoll, op, fd, &unix.EpollEvent{Events: events, Fd: int32(fd)}); err != nil {
		return fmt.Errorf("epoll_ctl: %w", err)
	}
	return nil
}

// ring ends a wait.
func (p *Poller) ring() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		_, _ = unix.Write(p.alarm, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	}
}

// now is the poller's clock.
func (p *Poller) now() int64 { return int64(time.Since(p.started)) }

// past reports whether a deadline is over.
func (p *Poller) past(by int64) bool { return by != 0 && by <= p.now() }

// at is t by the poller's clock, 0 for the zero time.
func (p *Poller) at(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return max(1, int64(t.Sub(p.started)))
}

func (p *Poller) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	_, _ = unix.Close(p.epoll), unix.Close(p.alarm)
}
