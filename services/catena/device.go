package main

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"

	"github.com/catena-im/catena/pkg/client/sqlite"
	"github.com/catena-im/catena/pkg/im"
)

// device is one device of a user on this machine, held by this process. A device is one session at the server and one
// outbox, so no two processes may be the same one; the exclusive lock of its store sees to that.
type device struct {
	id    string
	store *sqlite.Store
}

// maxDevices is how many commands may run as one user at once without naming their devices.
const maxDevices = 16

// claim takes the named device, or, where no name is given, the first of "<base>", "<base>-2", … that is free.
func claim(folder, user, name, base string) (*device, error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, fmt.Errorf("keep the device: %w", err)
	}
	if name != "" {
		if err := im.DeviceID(name).Validate(); err != nil {
			return nil, usageError{fmt.Errorf("--device %q: %w", name, err)}
		}
		d, err := hold(folder, user, name)
		if errors.Is(err, sqlite.ErrInUse) {
			return nil, fmt.Errorf("device %s of %s is in use by another catena command; give another --device, or none to get a free one", name, user)
		}
		return d, err
	}
	for i := range maxDevices {
		name := base
		if i > 0 {
			name = fmt.Sprintf("%s-%d", base, i+1)
		}
		if d, err := hold(folder, user, name); !errors.Is(err, sqlite.ErrInUse) {
			return d, err
		}
	}
	return nil, fmt.Errorf("%d catena commands run as %s already; end some, or give a --device", maxDevices, user)
}

func hold(folder, user, name string) (*device, error) {
	store, err := sqlite.Open(filepath.Join(folder, url.PathEscape(user)+"-"+url.PathEscape(name)+".db"))
	if err != nil {
		return nil, err
	}
	return &device{id: name, store: store}, nil
}
