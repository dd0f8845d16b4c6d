//go:build !unix

// Command cluster runs a development cluster of real processes. It needs the signals of a Unix system.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "cluster: this needs a Unix system (signals, locks that end with a process); use WSL or a container")
	os.Exit(1)
}
