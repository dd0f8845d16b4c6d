//go:build !unix

package child

import "syscall"

// attributes are the system's own.
func attributes() *syscall.SysProcAttr { return nil }
