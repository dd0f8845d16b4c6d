package main

import (
	"os"
	"os/exec"
)

// self is what to type for this command: its name, or in a checkout, where it is not installed, what the README says.
func self() string {
	if _, err := exec.LookPath("catena"); err == nil {
		return "catena"
	}
	if _, err := os.Stat("services/catena/main.go"); err == nil {
		return "go run ./services/catena"
	}
	return "catena"
}

// onData is the flag that names a data folder to a command, with a blank before it; empty for the default.
func onData(data string) string {
	if data == defaultData {
		return ""
	}
	return " --data " + data
}
