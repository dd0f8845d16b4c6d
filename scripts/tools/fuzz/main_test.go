package main

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestInFileFindsFuzzFunctions(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x_test.go")
	src := "package x\n\nfunc FuzzOne(f *testing.F) {}\n\nfunc FuzzTwo(tf *testing.F) {}\n\n// func FuzzNot(f *testing.F) {}\nfunc TestFuzz(t *testing.T) {}\n"
	if err := os.WriteFile(path, []byte(src), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := inFile(path)
	if want := []string{"FuzzOne", "FuzzTwo"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("inFile: %v, %v, want %v", got, err, want)
	}
}
