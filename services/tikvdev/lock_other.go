//go:build !unix && (!darwin || cgo)

package main

// lockFolder does not lock: the port of PD, which two processes cannot share, must do.
func lockFolder(string) (unlock func(), err error) { return func() {}, nil }
