// Command breaking runs `buf breaking` on the working tree against the protocol of the last commit on main, or, when the
// working tree is that very commit, against the one before it, so that a check of main compares something. It says what
// it compared, also where there is nothing to compare with yet. Its argument is the buf binary.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: breaking BUF")
		os.Exit(2)
	}
	if err := run(".", os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "breaking:", err)
		os.Exit(1)
	}
}

func run(dir, buf string) error {
	base, why, err := baseline(dir)
	if err != nil {
		return err
	}
	if base == "" {
		fmt.Println("buf breaking: nothing to compare with:", why)
		return nil
	}
	// An archive and not buf's own git input: that one needs .git to be a folder, which it is not in a linked worktree.
	old, err := os.MkdirTemp("", "breaking-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(old)
	archive := filepath.Join(old, "proto.tar")
	if _, err := git(dir, "archive", "--format=tar", "--output="+archive, base, "buf.yaml", "proto"); err != nil {
		return err
	}
	cmd := exec.Command(buf, "breaking", "--against", archive)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("the protocol breaks with %s (%s): numbers and names once given keep their meaning; "+
			"add fields instead of changing them: %w", short(base), why, err)
	}
	fmt.Printf("buf breaking: compatible with %s (%s)\n", short(base), why)
	return nil
}

// baseline picks the commit to compare with; an empty one comes with the reason.
func baseline(dir string) (commit, why string, err error) {
	tip, name := "", ""
	for _, name = range []string{"refs/heads/main", "refs/remotes/origin/main", "HEAD"} {
		if tip = commitOf(dir, name); tip != "" {
			break
		}
	}
	if tip == "" {
		return "", "there is no commit yet", nil
	}
	why = "the tip of " + strings.TrimPrefix(strings.TrimPrefix(name, "refs/heads/"), "refs/remotes/")
	changed, err := git(dir, "status", "--porcelain", "--", "buf.yaml", "proto")
	if err != nil {
		return "", "", err
	}
	if changed == "" && tip == commitOf(dir, "HEAD") {
		parent := commitOf(dir, tip+"^")
		if parent == "" {
			return "", "the working tree is the first commit, or the history is cut off below it", nil
		}
		tip, why = parent, "the commit before "+strings.TrimPrefix(why, "the tip of ")
	}
	for _, path := range []string{"buf.yaml", "proto"} {
		if !holds(dir, tip, path) {
			return "", why + " has no " + path, nil
		}
	}
	return tip, why, nil
}

// commitOf is the id of a commit, empty when there is none of that name.
func commitOf(dir, name string) string {
	id, err := git(dir, "rev-parse", "--verify", "--quiet", name+"^{commit}")
	if err != nil {
		return ""
	}
	return id
}

func holds(dir, commit, path string) bool {
	_, err := git(dir, "cat-file", "-e", commit+":"+path)
	return err == nil
}

func git(dir string, args ...string) (string, error) {
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return "", fmt.Errorf("git %s: %w: %s", args[0], err, bytes.TrimSpace(exit.Stderr))
	}
	return string(bytes.TrimSpace(out)), err
}

func short(commit string) string { return commit[:min(len(commit), 10)] }
