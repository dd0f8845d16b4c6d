package process

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"
)

// tick is the unit of times in /proc: Linux fixes USER_HZ at 100 on every architecture that Go runs on.
const tick = time.Second / 100

func read(pid int) (Usage, error) {
	folder := "/proc/" + strconv.Itoa(pid)
	stat, err := os.ReadFile(folder + "/stat")
	if err != nil {
		return Usage{}, fmt.Errorf("read process %d: %w", pid, err)
	}
	status, err := os.ReadFile(folder + "/status")
	if err != nil {
		return Usage{}, fmt.Errorf("read process %d: %w", pid, err)
	}
	cpu, err := parseStat(stat)
	if err != nil {
		return Usage{}, fmt.Errorf("read process %d: %w", pid, err)
	}
	u := Usage{CPU: cpu, Resident: field(status, "VmRSS:") << 10, Peak: field(status, "VmHWM:") << 10}
	if io, err := os.ReadFile(folder + "/io"); err == nil { // of another user's process it may not be read
		u.Written = field(io, "write_bytes:")
	}
	return u, nil
}

// parseStat sums utime and stime, fields 14 and 15 of proc_pid_stat(5). The second field is the program's name, which may
// hold blanks and brackets.
func parseStat(stat []byte) (time.Duration, error) {
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 13 {
		return 0, fmt.Errorf("stat has %d fields behind the name", len(fields))
	}
	user, err := strconv.ParseInt(string(fields[11]), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("utime: %w", err)
	}
	system, err := strconv.ParseInt(string(fields[12]), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("stime: %w", err)
	}
	return time.Duration(user+system) * tick, nil
}

// field is the number behind a name, 0 when it is not there.
func field(text []byte, name string) int64 {
	for line := range bytes.Lines(text) {
		if rest, ok := bytes.CutPrefix(line, []byte(name)); ok {
			n, _ := strconv.ParseInt(string(bytes.TrimSuffix(bytes.TrimSpace(rest), []byte(" kB"))), 10, 64)
			return n
		}
	}
	return 0
}
