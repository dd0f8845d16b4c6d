//go:build unix

package embed

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// ErrInUse: another process uses the data folder.
var ErrInUse = errors.New("data folder is in use")

// folderLock is held while a process uses a data folder; the operating system frees it when the process ends, however.
type folderLock struct{ file *os.File }

func lockFolder(dir string) (*folderLock, error) {
	path := filepath.Join(dir, "server.lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("data folder: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		defer f.Close()
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock data folder: %w", err)
		}
		return nil, fmt.Errorf("%w: a server%s works on %s; stop it, or give this one a folder of its own with --data",
			ErrInUse, holder(f), dir)
	}
	if err := f.Truncate(0); err == nil {
		_, err = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
		if err == nil {
			return &folderLock{f}, nil
		}
	}
	f.Close()
	return nil, fmt.Errorf("data folder: %s cannot be written", path)
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
