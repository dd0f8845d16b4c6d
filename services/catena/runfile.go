package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

const runFile = "run.json"

// RunFile tells the client commands where the server that uses a data folder listens. The server writes it when it is
// ready and removes it when it stops; after a kill it stays behind, so what it says may be out of date.
type RunFile struct {
	PID     int       `json:"pid"`
	WSURL   string    `json:"ws_url"`   // ws://host:port/ws
	NATSURL string    `json:"nats_url"` // nats://host:port
	Started time.Time `json:"started"`
}

// WriteRunFile puts r into the data folder in one step: a reader sees the old one, the new one or none.
func WriteRunFile(data string, r RunFile) error {
	content, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("write %s: %w", runFile, err)
	}
	f, err := os.CreateTemp(data, runFile+".*")
	if err != nil {
		return fmt.Errorf("write %s: %w", runFile, err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(append(content, '\n'))
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", runFile, err)
	}
	if err := os.Rename(f.Name(), filepath.Join(data, runFile)); err != nil {
		return fmt.Errorf("write %s: %w", runFile, err)
	}
	return nil
}

// ReadRunFile reads the run file of a data folder. The error is fs.ErrNotExist when there is none.
func ReadRunFile(data string) (RunFile, error) {
	var r RunFile
	path := filepath.Join(data, runFile)
	content, err := os.ReadFile(path)
	if err != nil {
		return r, fmt.Errorf("read %s: %w", runFile, err)
	}
	if err := json.Unmarshal(content, &r); err != nil || r.WSURL == "" {
		return r, fmt.Errorf("%s is not readable; remove it and start the server again", path)
	}
	return r, nil
}

// RemoveRunFile removes the run file if there is one.
func RemoveRunFile(data string) error {
	if err := os.Remove(filepath.Join(data, runFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove %s: %w", runFile, err)
	}
	return nil
}
