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
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// Config says where and how the server runs.
type Config struct {
	Dir    string // data folder; the server keeps to nats/ and server.lock in it
	Listen string // host:port for NATS clients such as the nats command; port 0 takes a free one
	Fsync  bool   // sync the streams before a publish is acknowledged; else within a second
}

const (
	maxPayload   = 1 << 20
	maxMemory    = 256 << 20 // of memory streams, of which Catena has none
	syncInterval = time.Second
	readyWithin  = 30 * time.Second // recovering large streams after a kill takes a while
)

// Server is the embedded NATS server.
type Server struct {
	nats *server.Server
	lock *folderLock
}

// New locks the folder and starts the server; it is ready for connections when New returns.
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
	s := &Server{lock: lock}
	if err := s.start(o, log); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func options(cfg Config) (*server.Options, error) {
	host, text, err := net.SplitHostPort(cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("nats.listen %q is not host:port: %w", cfg.Listen, err)
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("nats.listen %q: the port is not a number from 0 to 65535", cfg.Listen)
	}
	o := &server.Options{
		ServerName: "embedded", Host: host, Port: int(port), NoSigs: true, MaxPayload: maxPayload,
		JetStream: true, StoreDir: filepath.Join(cfg.Dir, "nats"), JetStreamMaxMemory: maxMemory,
		// Streams reserve their bound; whether the disk has that much is the disk's matter, not the account's.
		JetStreamMaxStore: 1 << 50,
		SyncAlways:        cfg.Fsync, SyncInterval: syncInterval,
	}
	if port == 0 {
		o.Port = server.RANDOM_PORT
	}
	return o, nil
}

func (s *Server) start(o *server.Options, log *slog.Logger) error {
	// The server would end the process where it cannot listen; asking first turns that into an error.
	if o.Port != server.RANDOM_PORT {
		l, err := net.Listen("tcp", net.JoinHostPort(o.Host, strconv.Itoa(o.Port)))
		if err != nil {
			return fmt.Errorf("nats.listen: %w; stop what uses the port, or give another (port 0 takes a free one)", err)
		}
		if err := l.Close(); err != nil {
			return fmt.Errorf("nats.listen: %w", err)
		}
	}
	n, err := server.NewServer(o)
	if err != nil {
		return fmt.Errorf("embedded nats server: %w", err)
	}
	n.SetLoggerV2(&logger{log: log}, false, false, false)
	s.nats = n
	go n.Start() // returns once it listens
	if !n.ReadyForConnections(readyWithin) {
		return errors.New("embedded nats server: not ready; see the log for the reason")
	}
	return nil
}

// InProcessConn is one end of a pipe to the server.
func (s *Server) InProcessConn() (net.Conn, error) { return s.nats.InProcessConn() }

// ClientURL is where NATS clients on this machine connect.
func (s *Server) ClientURL() string { return s.nats.ClientURL() }

// Close stops the server, waits until it is gone and frees the folder. Its clients must have gone before.
func (s *Server) Close() {
	if s.nats != nil {
		s.nats.Shutdown()
		s.nats.WaitForShutdown()
	}
	s.lock.release()
}
