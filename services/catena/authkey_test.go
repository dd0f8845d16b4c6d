package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/catena-im/catena/services/edge/token"
)

func TestKeyIsMadeOnce(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	if _, err := LoadKey(data); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("LoadKey without a key: %v, want ErrNotExist", err)
	}
	keys := make([]token.Key, 8)
	var wg sync.WaitGroup
	for i := range keys {
		wg.Go(func() {
			var err error
			if keys[i], err = LoadOrCreateKey(data); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, k := range keys {
		if !reflect.DeepEqual(k, keys[0]) || len(k.Secret) != token.MinSecret {
			t.Fatalf("keys made at once differ: %v and %v", k, keys[0])
		}
	}
	entries, err := os.ReadDir(data)
	if err != nil || len(entries) != 1 {
		t.Errorf("the folder holds %v, %v; want the key alone", entries, err)
	}
	info, err := entries[0].Info()
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key has the mode %v, %v; want 0600", info.Mode(), err)
	}
}

func TestBrokenKeyIsReported(t *testing.T) {
	data := t.TempDir()
	if err := os.WriteFile(filepath.Join(data, keyFile), []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadOrCreateKey(data); err == nil || !strings.Contains(err.Error(), "remove it") {
		t.Errorf("LoadOrCreateKey: %v, want one that says what to do", err)
	}
}

func TestRunFileIsReadBack(t *testing.T) {
	data := t.TempDir()
	if _, err := ReadRunFile(data); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("ReadRunFile without one: %v, want ErrNotExist", err)
	}
	want := RunFile{PID: 7, WSURL: "ws://127.0.0.1:1/ws", NATSURL: "nats://127.0.0.1:2", Started: time.Unix(3, 0).UTC()}
	for range 2 { // over an old one, too
		if err := WriteRunFile(data, want); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := ReadRunFile(data); err != nil || got != want {
		t.Errorf("ReadRunFile: %+v, %v, want %+v", got, err, want)
	}
	if err := errors.Join(RemoveRunFile(data), RemoveRunFile(data)); err != nil {
		t.Error(err)
	}
	if entries, _ := os.ReadDir(data); len(entries) != 0 {
		t.Errorf("the folder holds %v after the removal, want nothing", entries)
	}
}
