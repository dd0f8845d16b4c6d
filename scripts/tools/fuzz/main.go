// Command fuzz runs every fuzz target of the workspace, one after the other, for a stated time each. Targets are found,
// not listed, so a new one is run without anybody remembering it.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

func main() {
	each := flag.Duration("time", 5*time.Second, "how long each target runs")
	match := flag.String("match", "", "run only targets whose import path and name (path.FuzzName) match this expression")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *each, *match); err != nil {
		fmt.Fprintln(os.Stderr, "fuzz:", err)
		stop()
		os.Exit(1) //nolint:gocritic // stop has run
	}
}

// target is one fuzz function.
type target struct{ pkg, name string }

func run(ctx context.Context, each time.Duration, match string) error {
	wanted, err := regexp.Compile(match)
	if err != nil {
		return fmt.Errorf("-match: %w", err)
	}
	targets, err := find(ctx)
	if err != nil {
		return err
	}
	var failed []error
	ran := 0
	for _, t := range targets {
		if !wanted.MatchString(t.pkg + "." + t.name) {
			continue
		}
		ran++
		if err := fuzz(ctx, t, each); err != nil {
			failed = append(failed, fmt.Errorf("%s %s: %w", t.pkg, t.name, err))
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	fmt.Printf("fuzz: %d of %d targets run for %s each, %d failed\n", ran, len(targets), each, len(failed))
	if ran == 0 && match != "" {
		return fmt.Errorf("-match %s: no target matches", match)
	}
	return errors.Join(failed...)
}

// fuzz runs one target. On a busy machine the runner may report its own deadline, reached while a worker still had an
// input in hand, as a failure (go.dev/issue/48591); that alone says nothing of the target, which then runs once more.
func fuzz(ctx context.Context, t target, each time.Duration) error {
	for again := false; ; again = true {
		var seen bytes.Buffer
		cmd := exec.CommandContext(ctx, "go", "test", "-run=^$", "-fuzz=^"+t.name+"$", "-fuzztime="+each.String(), t.pkg)
		cmd.Stdout = io.MultiWriter(os.Stdout, &seen)
		cmd.Stderr = os.Stderr
		err := cmd.Run()
		if err == nil || again || !deadlineOnly(seen.String()) {
			return err
		}
		fmt.Printf("fuzz: %s %s ended at the runner's own deadline and found nothing; running it once more\n", t.pkg, t.name)
	}
}

func deadlineOnly(output string) bool {
	return strings.Contains(output, "context deadline exceeded") && !strings.Contains(output, "Failing input written")
}

// find lists the fuzz functions of all packages of the workspace.
func find(ctx context.Context) ([]target, error) {
	const format = `{{$p := .}}{{range .TestGoFiles}}{{$p.ImportPath}} {{$p.Dir}} {{.}}{{"\n"}}{{end}}` +
		`{{range .XTestGoFiles}}{{$p.ImportPath}} {{$p.Dir}} {{.}}{{"\n"}}{{end}}`
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, "go", "list", "-f", format, "work")
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list work: %w\n%s", err, &stderr)
	}
	var targets []target
	for line := range strings.Lines(string(out)) {
		pkg, file, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok {
			continue
		}
		at := strings.LastIndexByte(file, ' ') // the folder may hold blanks, the file's name does not
		names, err := inFile(filepath.Join(file[:at], file[at+1:]))
		if err != nil {
			return nil, err
		}
		for _, n := range names {
			targets = append(targets, target{pkg, n})
		}
	}
	return targets, nil
}

var declaration = regexp.MustCompile(`(?m)^func (Fuzz\w*)\(\w+ \*testing\.F\)`)

// inFile lists the fuzz functions that a test file declares.
func inFile(path string) ([]string, error) {
	src, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, m := range declaration.FindAllSubmatch(src, -1) {
		names = append(names, string(m[1]))
	}
	return names, nil
}
