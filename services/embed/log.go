package embed

import (
	"fmt"
	"log/slog"
	"sync"
)

// logger puts what the NATS server logs into slog. What it calls a notice is detail here.
type logger struct {
	log *slog.Logger

	mu    sync.Mutex // guards the fields below
	first string     // the first fatal text of the start
	up    bool       // the start is over
}

func newLogger(log *slog.Logger) *logger { return &logger{log: log.With("component", "nats-server")} }

func (l *logger) Noticef(format string, v ...any) { l.log.Debug(fmt.Sprintf(format, v...)) }
func (l *logger) Warnf(format string, v ...any)   { l.log.Warn(fmt.Sprintf(format, v...)) }
func (l *logger) Errorf(format string, v ...any)  { l.log.Error(fmt.Sprintf(format, v...)) }
func (l *logger) Debugf(format string, v ...any)  { l.log.Debug(fmt.Sprintf(format, v...)) }
func (l *logger) Tracef(format string, v ...any)  { l.log.Debug(fmt.Sprintf(format, v...)) }

// Fatalf is where the server expects its process to end. Here it returns; during the start New asks for the reason.
func (l *logger) Fatalf(format string, v ...any) {
	text := fmt.Sprintf(format, v...)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.up || l.first != "" {
		l.log.Error(text)
		return
	}
	l.first = text
}

// started says that the start is over and returns what made it fail, empty when nothing did.
func (l *logger) started() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.up = true
	return l.first
}
