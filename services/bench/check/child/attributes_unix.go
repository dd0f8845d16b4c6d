//go:build unix && !linux

package child

import "syscall"

// attributes keep the signals of the terminal from the child, which is killed from here only.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
