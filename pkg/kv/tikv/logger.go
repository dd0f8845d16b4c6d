//go:build !darwin || cgo

package tikv

import (
	"context"
	"log/slog"
	"time"

	plog "github.com/pingcap/log"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// route gives what client-go and PD's client log to log, in the whole process. It returns the same for etcd's client.
func route(log *slog.Logger) *zap.Logger {
	// An outage makes each request say so: of equal lines one in ten seconds is enough.
	core := zapcore.NewSamplerWithOptions(&bridge{log.Handler()}, 10*time.Second, 1, 0)
	logger := zap.New(core)
	plog.ReplaceGlobals(logger, &plog.ZapProperties{Core: core, Level: zap.NewAtomicLevelAt(zap.DebugLevel)})
	return logger
}

// bridge is a zapcore.Core over a slog.Handler.
type bridge struct{ to slog.Handler }

// level is one lower for what client-go calls information: a line per region, lock and connection.
func level(l zapcore.Level) slog.Level {
	switch {
	case l >= zap.ErrorLevel:
		return slog.LevelError
	case l == zap.WarnLevel:
		return slog.LevelWarn
	case l == zap.InfoLevel:
		return slog.LevelDebug
	}
	return slog.LevelDebug - 4
}

// chatter is what client-go warns of again and again though nobody can do anything about it, and metrics tell it: how a
// transaction is committed (always so with tikvdev, which knows no async commit), and that 30 ms went by.
var chatter = map[string]bool{
	"async commit cannot proceed since the returned minCommitTS is zero, fallback to normal path": true,
	"1pc failed and fallbacks to normal commit procedure":                                         true,
	"get timestamp too slow": true,
}

func (b *bridge) Enabled(l zapcore.Level) bool {
	return b.to.Enabled(context.Background(), level(l))
}

func (b *bridge) With(fields []zapcore.Field) zapcore.Core {
	return &bridge{b.to.WithAttrs(attrs(fields))}
}

func (b *bridge) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if chatter[e.Message] {
		e.Level = zap.InfoLevel
	}
	if b.Enabled(e.Level) {
		return ce.AddCore(e, b)
	}
	return ce
}

func (b *bridge) Write(e zapcore.Entry, fields []zapcore.Field) error {
	r := slog.NewRecord(e.Time, level(e.Level), "tikv client: "+e.Message, 0)
	r.AddAttrs(attrs(fields)...)
	return b.to.Handle(context.Background(), r)
}

func (b *bridge) Sync() error { return nil }

func attrs(fields []zapcore.Field) []slog.Attr {
	enc := zapcore.NewMapObjectEncoder()
	for _, f := range fields {
		f.AddTo(enc)
	}
	list := make([]slog.Attr, 0, len(enc.Fields))
	for _, f := range fields {
		value, ok := enc.Fields[f.Key] // not the stacks that errors bring along under further keys
		if !ok {
			continue
		}
		key := f.Key
		if key == "error" {
			key = "err"
		}
		list = append(list, slog.Any(key, value))
	}
	return list
}
