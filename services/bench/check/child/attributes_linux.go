package child

import "syscall"

// attributes keep the signals of the terminal from the child, which is killed from here only, and let it die with its
// parent.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
