//go:build !unix

// Command chaos kills and freezes processes as Unix does it; other systems have none of that.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "chaos: this command needs a Unix system, such as Linux or macOS")
	os.Exit(1)
}
