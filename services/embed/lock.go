package embed

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// ErrInUse: another server, in this process or another, has the data folder.
var ErrInUse = errors.New("data folder is in use")

var errHeld = errors.New("lock is held")

// folderLock is held while a server uses a data folder; the operating system frees it when the process ends, however.
type folderLock struct{ file *os.File }

func lockFolder(dir string) (*folderLock, error) {
	path := filepath.Join(dir, "server.lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("data folder: %w", err)
	}
	if err := tryLock(f); err != nil {
		defer f.Close()
		if !errors.Is(err, errHeld) {
			return nil, fmt.Errorf("lock data folder %s: %w", dir, err)
		}
		return nil, fmt.Errorf("%w: a server%s works on %s; stop it, or give this one a folder of its own with --data",
			ErrInUse, holder(f), dir)
	}
	if err := sign(f); err != nil {
		f.Close()
		return nil, fmt.Errorf("data folder: %w", err)
	}
	return &folderLock{f}, nil
}

// sign writes who holds the lock, for those who are refused.
func sign(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return err
}

// holder names the process that holds the lock, as far as it said so.
func holder(f *os.File) string {
	b, err := io.ReadAll(io.LimitReader(f, 32))
	if pid := strings.TrimSpace(string(b)); err == nil && pid != "" {
		return " with pid " + pid
	}
	return ""
}

func (l *folderLock) release() { _ = l.file.Close() } // closing unlocks; the file stays, or two could lock two files
