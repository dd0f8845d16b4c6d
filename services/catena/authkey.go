package main

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/catena-im/catena/services/edge/token"
)

// The development key of a data folder: 32 random bytes in base64, readable by its owner only.
const (
	keyFile = "auth.key"
	keyID   = "dev"
)

// LoadKey reads the development key of a data folder. The error is fs.ErrNotExist when there is none.
func LoadKey(data string) (token.Key, error) {
	path := filepath.Join(data, keyFile)
	content, err := os.ReadFile(path)
	if err != nil {
		return token.Key{}, fmt.Errorf("read the signing key: %w", err)
	}
	secret, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(content)))
	if err != nil || len(secret) < token.MinSecret {
		return token.Key{}, fmt.Errorf("the signing key %s is not %d bytes in base64; remove it and a new one is made (older tokens end with it)", path, token.MinSecret)
	}
	return token.Key{ID: keyID, Algorithm: token.HS256, Secret: secret}, nil
}

// LoadOrCreateKey reads the development key of a data folder and makes it, and the folder, when it is not there. Of
// several processes that do so at once, one makes the key and all return it.
func LoadOrCreateKey(data string) (token.Key, error) {
	k, err := LoadKey(data)
	if !errors.Is(err, fs.ErrNotExist) {
		return k, err
	}
	if err := createKey(data); err != nil {
		return token.Key{}, fmt.Errorf("make the signing key: %w", err)
	}
	return LoadKey(data)
}

func createKey(data string) error {
	if err := os.MkdirAll(data, 0o700); err != nil {
		return err
	}
	secret := make([]byte, token.MinSecret)
	if _, err := rand.Read(secret); err != nil {
		return err
	}
	f, err := os.CreateTemp(data, keyFile+".*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.WriteString(base64.StdEncoding.EncodeToString(secret) + "\n")
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	// A link, not a rename: the key of whoever came first stays.
	if err := os.Link(f.Name(), filepath.Join(data, keyFile)); !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}
