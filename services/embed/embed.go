// Package embed runs a NATS server inside this process, for the deployment where one machine is everything. It promises
// that a data folder has one user at a time, that the server is ready when New returns and gone when Close returns, and
// that acknowledged stream messages are on the disk as the durability says. It knows nothing of streams and chains.
package embed

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// DefaultListen is where the server listens when the configuration says nothing.
const DefaultListen = "127.0.0.1:7422"

// Config says where and how the server runs. Dir is required.
type Config struct {
	Dir string // data folder, made when missing; the server keeps to nats/ and server.lock in it
	// Listen is host:port for NATS clients such as the nats command; default DefaultListen. Port 0 takes a free one. The
	// server asks nobody for a password, so the host must be this machine.
	Listen string
	Fsync  bool // sync the streams before a publish is acknowledged; else within a second
}

const (
	maxPayload   = 1 << 20
	maxMemory    = 256 << 20 // of memory streams, of which Catena has none
	syncInterval = time.Second
	readyWithin  = 5 * time.Second // to listen, once the streams are recovered
)

// Server is the embedded NATS server. Safe for concurrent use.
type Server struct {
	opts server.Options // with the port that was taken
	log  *slog.Logger
	lock *folderLock
	stop chan struct{} // closed by Close
	done chan struct{} // closed when watch has returned
	once sync.Once     // of Close

	mu    sync.RWMutex // guards the fields below
	nats  *server.Server
	fault error // see Fault
}

// New locks the folder, recovers the streams in it and listens; the server is ready for connections when New returns.
// ErrInUse when another server has the folder, syscall.EADDRINUSE when something else has the port.
func New(cfg Config, log *slog.Logger) (*Server, error) {
	o, err := options(cfg)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("data folder: %w", err)
	}
	lock, err := lockFolder(cfg.Dir)
	if err != nil {
		return nil, err
	}
	s := &Server{opts: *o, log: log, lock: lock, stop: make(chan struct{}), done: make(chan struct{})}
	if err := s.start(); err != nil {
		lock.release()
		return nil, err
	}
	go s.watch() // joined in Close
	return s, nil
}

func options(cfg Config) (*server.Options, error) {
	if cfg.Dir == "" {
		return nil, errors.New("the data folder has no name")
	}
	if cfg.Listen == "" {
		cfg.Listen = DefaultListen
	}
	host, port, err := splitListen(cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("nats.listen %q: %w", cfg.Listen, err)
	}
	return &server.Options{
		ServerName: "embedded", Host: host, Port: port, NoSigs: true, MaxPayload: maxPayload,
		JetStream: true, StoreDir: filepath.Join(cfg.Dir, "nats"), JetStreamMaxMemory: maxMemory,
		// Streams reserve their bound; whether the disk has that much is the disk's matter, not the account's.
		JetStreamMaxStore: 1 << 50,
		SyncAlways:        cfg.Fsync, SyncInterval: syncInterval,
	}, nil
}

// splitListen takes host:port apart; port 0 becomes what the server takes for one.
func splitListen(listen string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(listen)
	if err != nil {
		return "", 0, fmt.Errorf("it is not host:port: %w", err)
	}
	number, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return "", 0, errors.New("the port is not a number from 0 to 65535")
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return "", 0, errors.New("the embedded server asks nobody for a password, so it listens on this machine only; give 127.0.0.1")
	}
	if number == 0 {
		return host, server.RANDOM_PORT, nil
	}
	return host, int(number), nil
}

// start makes the server that others see.
func (s *Server) start() error {
	// Recovering the streams may take long, so whether the port is free is asked first.
	if s.opts.Port != server.RANDOM_PORT {
		l, err := net.Listen("tcp", net.JoinHostPort(s.opts.Host, strconv.Itoa(s.opts.Port)))
		if err != nil {
			return fmt.Errorf("nats.listen: %w\nstop what uses the port, or give another with --nats-listen; port 0 takes a free one", err)
		}
		if err := l.Close(); err != nil {
			return fmt.Errorf("nats.listen: %w", err)
		}
	}
	opts := s.opts // the server keeps what it is given, and writes to it
	n, err := server.NewServer(&opts)
	if err != nil {
		return fmt.Errorf("embedded nats server: %w", err)
	}
	to := newLogger(s.log)
	n.SetLoggerV2(to, false, false, false)
	n.Start() // returns when it listens, or where it would have ended a process of its own
	why := to.started()
	if why == "" && !n.ReadyForConnections(readyWithin) {
		why = "not ready for connections"
	}
	if why != "" {
		halt(n)
		return fmt.Errorf("embedded nats server: %s", why)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nats, s.opts.Port = n, n.Addr().(*net.TCPAddr).Port
	return nil
}

// halt ends a server and waits until it is gone.
func halt(n *server.Server) {
	n.Shutdown()
	n.WaitForShutdown()
}

func (s *Server) current() *server.Server {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.nats
}

// InProcessConn is one end of a pipe to the server. It fails while the server is being started again.
func (s *Server) InProcessConn() (net.Conn, error) { return s.current().InProcessConn() }

// ClientURL is where NATS clients on this machine connect.
func (s *Server) ClientURL() string { return s.current().ClientURL() }

// Close stops the server, waits until it is gone and frees the folder. Its clients must have gone before. Close twice is
// fine.
func (s *Server) Close() {
	s.once.Do(func() {
		close(s.stop)
		<-s.done
		s.end()
		s.lock.release()
	})
}
