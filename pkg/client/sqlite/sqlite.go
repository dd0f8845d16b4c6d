// Package sqlite is a client.Store in one SQLite file. It promises that what Apply returned nil for survives the end of
// the process and of the machine's power (write-ahead log, synchronous FULL), and that one process at a time uses the
// file. It keeps the outbox and the position, no messages.
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"

	"github.com/catena-im/catena/pkg/client"
	imv1 "github.com/catena-im/catena/proto/im/v1"
	"google.golang.org/protobuf/proto"
	"modernc.org/sqlite"
	codes "modernc.org/sqlite/lib"
)

// ErrInUse: another process, or another Store of this one, has the file open.
var ErrInUse = errors.New("the store is in use; each device needs a file of its own")

// version is that of the tables, kept in the file's user_version.
const version = 1

const tables = `
CREATE TABLE state (
	id           INTEGER PRIMARY KEY CHECK (id = 1),
	user         TEXT NOT NULL,
	position     INTEGER NOT NULL,
	list_version INTEGER NOT NULL
) STRICT;
INSERT INTO state VALUES (1, '', 0, 0);
CREATE TABLE outbox (
	seq  INTEGER PRIMARY KEY,
	send BLOB NOT NULL -- im.v1.Send
) STRICT;
PRAGMA user_version = 1;
`

// Store is an open file.
type Store struct{ db *sql.DB }

// Open opens the file at path and makes it when there is none. It returns ErrInUse when somebody else has it open.
func Open(path string) (*Store, error) {
	options := url.Values{"_txlock": {"immediate"}, "_pragma": {
		"busy_timeout(1000)", "locking_mode(exclusive)", "journal_mode(wal)", "synchronous(full)",
	}}
	dsn := url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: options.Encode()}
	db, err := sql.Open("sqlite", dsn.String())
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	db.SetMaxOpenConns(1)
	s := &Store{db}
	if err := s.prepare(); err != nil {
		db.Close()
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return s, nil
}

// prepare takes the lock and makes the tables in a new file.
func (s *Store) prepare() error {
	err := s.change(context.Background(), func(tx *sql.Tx) error {
		var found int
		if err := tx.QueryRow("PRAGMA user_version").Scan(&found); err != nil {
			return err
		}
		switch found {
		case version:
			return nil
		case 0:
			_, err := tx.Exec(tables)
			return err
		}
		return fmt.Errorf("the tables are of version %d, this program knows %d", found, version)
	})
	var e *sqlite.Error
	if errors.As(err, &e) && e.Code()&0xff == codes.SQLITE_BUSY {
		return ErrInUse
	}
	return err
}

// Close closes the file. The client that uses the store must have ended.
func (s *Store) Close() error { return s.db.Close() }

// Load is part of client.Store.
func (s *Store) Load(ctx context.Context) (client.State, error) {
	var state client.State
	err := s.change(ctx, func(tx *sql.Tx) error {
		row := tx.QueryRowContext(ctx, "SELECT user, position, list_version FROM state")
		if err := row.Scan(&state.User, &state.Position, &state.ListVersion); err != nil {
			return err
		}
		var err error
		state.Outbox, err = outbox(ctx, tx)
		return err
	})
	return state, err
}

func outbox(ctx context.Context, tx *sql.Tx) ([]client.Queued, error) {
	rows, err := tx.QueryContext(ctx, "SELECT seq, send FROM outbox ORDER BY seq")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []client.Queued
	for rows.Next() {
		q := client.Queued{Send: &imv1.Send{}}
		var send []byte
		if err := rows.Scan(&q.Seq, &send); err != nil {
			return nil, err
		}
		if err := proto.Unmarshal(send, q.Send); err != nil {
			return nil, fmt.Errorf("decode message %d of the outbox: %w", q.Seq, err)
		}
		all = append(all, q)
	}
	return all, rows.Err()
}

// Apply is part of client.Store.
func (s *Store) Apply(ctx context.Context, c client.Change) error {
	return s.change(ctx, func(tx *sql.Tx) error {
		for _, q := range c.Enqueued {
			send, err := proto.Marshal(q.Send)
			if err != nil {
				return err
			}
			if _, err := tx.ExecContext(ctx, "INSERT INTO outbox VALUES (?, ?)", int64(q.Seq), send); err != nil {
				return err
			}
		}
		for _, seq := range c.Removed {
			if _, err := tx.ExecContext(ctx, "DELETE FROM outbox WHERE seq = ?", int64(seq)); err != nil {
				return err
			}
		}
		if c.User == "" && c.Position == 0 && c.ListVersion == 0 {
			return nil
		}
		_, err := tx.ExecContext(ctx, `UPDATE state SET user = coalesce(nullif(?, ''), user),
			position = coalesce(nullif(?, 0), position), list_version = coalesce(nullif(?, 0), list_version)`,
			c.User, int64(c.Position), int64(c.ListVersion))
		return err
	})
}

// change runs work in one transaction.
func (s *Store) change(ctx context.Context, work func(*sql.Tx) error) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // does nothing after Commit
	if err := work(tx); err != nil {
		return err
	}
	return tx.Commit()
}
