//go:build unix

package main

import (
	"os"
	"path/filepath"
)

const (
	folder = ".catena-cluster"
	mark   = "go.work" // of the repository's root
)

// place finds the folders that were not given. It leaves the repository open where there is none: a cluster remembers
// from which it was made.
func (o *options) place() (err error) {
	here, err := os.Getwd()
	if err != nil {
		return err
	}
	repository, within := above(here, mark)
	if o.root == "" && within {
		o.root = repository
	}
	if o.root != "" {
		if o.root, err = filepath.Abs(o.root); err != nil {
			return err
		}
	}
	if o.dir == "" {
		o.dir = own()
	}
	if o.dir == "" {
		o.dir = filepath.Join(here, folder)
		if within {
			o.dir = filepath.Join(repository, folder)
		}
	}
	o.dir, err = filepath.Abs(o.dir)
	return err
}

// own is the cluster in whose bin folder this program is; "" when it is in none.
func own() string {
	program, err := os.Executable()
	if err != nil {
		return ""
	}
	dir := filepath.Dir(filepath.Dir(program))
	if _, err := os.Stat(filepath.Join(dir, stateFile)); err != nil {
		return ""
	}
	return dir
}

// above is the nearest folder, this one or one that it is in, that holds name.
func above(dir, name string) (string, bool) {
	for {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			return dir, true
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", false
		}
		dir = parent
	}
}
