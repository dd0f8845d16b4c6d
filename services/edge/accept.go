package edge

import (
	"bufio"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/lxzan/gws"
)

// The WebSocket subprotocols.
const (
	protocolBinary = "catena.v1"
	protocolJSON   = "catena.v1.json"
)

const (
	handshakeTimeout = 5 * time.Second
	maxHeader        = 16 << 10 // bytes of a handshake
	leastBuffer      = 16       // bytes, the least of bufio; gws makes a reader for each handshake, which is not used
)

func newUpgrader() *gws.Upgrader {
	return gws.NewUpgrader(gws.BuiltinEventHandler{}, &gws.ServerOption{
		ReadBufferSize:   leastBuffer,
		HandshakeTimeout: handshakeTimeout,
		SubProtocols:     []string{protocolBinary, protocolJSON},
		Logger:           noLogger{},
	})
}

// httpServer serves /ws and nothing else. To a client on another path it says so in a way that a proxy does not.
func (e *Edge) httpServer() *http.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ws", e.serveWebSocket)
	mux.HandleFunc("/ws", func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "connect with GET, as WebSocket clients do", http.StatusMethodNotAllowed)
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "WRONG_PATH: clients of this server connect to /ws", http.StatusNotFound)
	})
	return &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: handshakeTimeout,
		IdleTimeout:       handshakeTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(e.log.Handler(), slog.LevelDebug),
	}
}

func (e *Edge) serveWebSocket(w http.ResponseWriter, r *http.Request) {
	protocol, problem := handshake(r)
	if problem != "" {
		http.Error(w, problem, http.StatusBadRequest)
		return
	}
	if problem := e.reserve(); problem != "" {
		w.Header().Set("Retry-After", "1")
		http.Error(w, problem, http.StatusServiceUnavailable)
		return
	}
	s, early, err := e.upgrade(w, r, protocol == protocolJSON)
	if err != nil {
		e.log.Debug("upgrade", "err", err)
		e.release()
		return
	}
	e.add(s)
	s.Received(early)
	e.sockets.Receive(s.link.Conn, s)
}

// handshake checks what gws would refuse with fewer words, and chooses the first subprotocol of the client that is spoken.
func handshake(r *http.Request) (protocol, problem string) {
	switch {
	case !headerHas(r, "Connection", "upgrade") || !headerHas(r, "Upgrade", "websocket"):
		return "", "this address speaks WebSocket; connect with a WebSocket client"
	case r.Header.Get("Sec-WebSocket-Version") != "13":
		return "", "the WebSocket version is not supported; use version 13 (RFC 6455)"
	case r.Header.Get("Sec-WebSocket-Key") == "":
		return "", "the header Sec-WebSocket-Key is missing; connect with a WebSocket client"
	}
	for _, line := range r.Header.Values("Sec-WebSocket-Protocol") {
		for offer := range strings.SplitSeq(line, ",") {
			if offer = strings.TrimSpace(offer); offer == protocolBinary || offer == protocolJSON {
				r.Header.Set("Sec-WebSocket-Protocol", offer) // gws reads the first line only
				return offer, ""
			}
		}
	}
	return "", fmt.Sprintf("UNSUPPORTED_VERSION: this server speaks the WebSocket subprotocols %s (binary) and %s (JSON); ask for one of them",
		protocolBinary, protocolJSON)
}

func headerHas(r *http.Request, name, token string) bool {
	for _, line := range r.Header.Values(name) {
		for part := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(part), token) {
				return true
			}
		}
	}
	return false
}

// reserve counts a connection as running before it is upgraded, or says why there may be no more.
func (e *Edge) reserve() (problem string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.stopped:
		return "this server is stopping; connect to another one"
	case e.connections >= e.cfg.MaxConnections:
		return "this server holds as many connections as it may; connect to another one, or later"
	}
	e.connections++
	e.running.Add(1)
	e.metrics.connections.Inc()
	return ""
}

func (e *Edge) release() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.connections--
	e.metrics.connections.Dec()
	e.running.Done()
}

// add numbers a session and makes it known.
func (e *Edge) add(s *session) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.opened++
	s.number = e.opened
	e.sessions[s.number] = s
	if e.stopped { // in the meantime
		s.sendAway()
		s.close(closeGoingAway, nil)
	}
}

func (e *Edge) session(number uint64) *session {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return e.sessions[number]
}

// upgrade makes a session of a request. What came behind the handshake is early: it is taken before anything is read.
func (e *Edge) upgrade(w http.ResponseWriter, r *http.Request, json bool) (s *session, early []byte, err error) {
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, nil, err
	}
	early, _ = rw.Reader.Peek(rw.Reader.Buffered())
	s = &session{edge: e, json: json, opened: e.now()}
	s.out.limit, s.out.spares = e.cfg.QueueBytes, &e.spares
	s.link = &link{Conn: e.sockets.Adopt(conn), timeout: e.cfg.WriteTimeout}
	if _, err = e.upgrader.Upgrade(hijacked{w, s.link}, r); err != nil {
		s.link.abort()
		return nil, nil, err
	}
	s.link.renewed = time.Time{} // gws has taken the deadline away
	s.alive()
	return s, early, nil
}

func (e *Edge) finish(s *session) {
	e.mu.Lock()
	delete(e.sessions, s.number)
	e.mu.Unlock()
	if s.authenticated {
		e.partitionOf(s.user).leave(s)
		e.metrics.sessions.Dec()
	}
	s.end()
}

// hijacked hands gws the link in place of the connection.
type hijacked struct {
	http.ResponseWriter
	link *link
}

func (h hijacked) Hijack() (net.Conn, *bufio.ReadWriter, error) { return h.link, nil, nil }

// noLogger keeps gws from writing to standard error.
type noLogger struct{}

func (noLogger) Error(...any) {}
