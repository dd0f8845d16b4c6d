package main

import (
	"bytes"
	"encoding/base64"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/catena-im/catena/pkg/conf"
	"github.com/catena-im/catena/services/edge/token"
)

const annotated = "../../configs/catena.yaml"

// TestAnnotatedConfigurationIsTrue holds configs/catena.yaml against the defaults and their documentation.
func TestAnnotatedConfigurationIsTrue(t *testing.T) {
	want, err := annotatedConfig()
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(annotated)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("configs/catena.yaml is not what the Config struct says; write it again:\n"+
			"go run ./services/catena config > configs/catena.yaml\nwant\n%s\ngot\n%s", want, got)
	}
	cfg := Config{}
	if err := conf.Load(&cfg, conf.Sources{File: annotated}); err != nil {
		t.Fatal(err)
	}
	defaults := DefaultConfig()
	defaults.Auth.Keys, defaults.fresh = []AuthKey{}, 0 // the second is none of the file's
	if !reflect.DeepEqual(cfg, defaults) {
		t.Errorf("configs/catena.yaml gives\n%+v, want the defaults\n%+v", cfg, defaults)
	}
}

func TestConfigSaysWhatIsWrong(t *testing.T) {
	tests := map[string]string{ // environment → part of the error
		"CATENA_LISTEN=7300":                     `listen: "7300" is not host:port`,
		"CATENA_NATS_LISTEN=":                    `nats.listen: "" is not host:port`,
		"CATENA_CELL=eu.west":                    `cell: "eu.west" is not one token`,
		"CATENA_NODE=a b":                        `node: "a b" is not a name`,
		"CATENA_DATA=":                           "data:",
		"CATENA_STREAM_DUPLICATE_WINDOW=100h":    "is above stream.max_age",
		"CATENA_PARTITIONS_CONV=-1":              "give at least 0",
		"CATENA_PARTITIONS_USER=401":             "give at most 400",
		"CATENA_AUTH_KEYS=[{algorithm: HS256}]":  "give either key or file",
		"CATENA_AUTH_KEYS=[{algorithm: RS256}]":  "is not one of HS256, EdDSA",
		"CATENA_AUTH_KEYS=[{algorithmn: HS256}]": "nearest is algorithm",
	}
	for env, want := range tests {
		cfg := DefaultConfig()
		if err := conf.Load(&cfg, conf.Sources{Env: []string{env}}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", env, err, want)
		}
	}
}

func TestTokenKeys(t *testing.T) {
	dir := t.TempDir()
	secretFile := filepath.Join(dir, "secret")
	secret := strings.Repeat("s", token.MinSecret)
	if err := os.WriteFile(secretFile, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	public := bytes.Repeat([]byte{7}, 32)
	cfg := DefaultConfig()
	cfg.Auth.Keys = []AuthKey{
		{ID: "a", Algorithm: token.HS256, File: secretFile},
		{ID: "b", Algorithm: token.EdDSA, Key: base64.StdEncoding.EncodeToString(public)},
	}
	got, err := cfg.TokenKeys()
	want := []token.Key{{ID: "a", Algorithm: token.HS256, Secret: []byte(secret)}, {ID: "b", Algorithm: token.EdDSA, PublicKey: public}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("TokenKeys: %+v, %v, want %+v", got, err, want)
	}
	cfg.Auth.Keys = []AuthKey{{ID: "c", Algorithm: token.EdDSA, Key: "nonsense"}}
	if _, err := cfg.TokenKeys(); err == nil || !strings.Contains(err.Error(), "auth.keys[0] (c)") {
		t.Errorf("TokenKeys with a wrong key: %v, want one that names the key", err)
	}
}
