//go:build !linux

package pebble

// stepBack does nothing: threads have no priority of their own here.
func stepBack() {}
