package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// repository is a git repository in a temporary folder.
type repository struct {
	t   *testing.T
	dir string
}

func (r repository) git(args ...string) string {
	r.t.Helper()
	args = append([]string{"-c", "user.name=test", "-c", "user.email=test@example.com", "-c", "commit.gpgsign=false"}, args...)
	cmd := exec.CommandContext(r.t.Context(), "git", args...)
	cmd.Dir = r.dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func (r repository) write(path, content string) {
	r.t.Helper()
	path = filepath.Join(r.dir, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

func (r repository) commit() string {
	r.t.Helper()
	r.git("add", ".")
	r.git("commit", "-q", "-m", "change")
	return r.git("rev-parse", "HEAD")
}

func TestBaseline(t *testing.T) {
	r := repository{t, t.TempDir()}
	r.git("init", "-q", "-b", "main")
	check := func(when, want, wantWhy string) {
		t.Helper()
		got, why, err := baseline(r.dir)
		if err != nil || got != want || !strings.Contains(why, wantWhy) {
			t.Errorf("%s: baseline %q, %q, %v; want %q, %q", when, got, why, err, want, wantWhy)
		}
	}
	check("without a commit", "", "no commit yet")
	r.write("README.md", "x")
	r.commit()
	check("in the first commit", "", "first commit")
	r.write("buf.yaml", "version: v2")
	check("before the protocol is committed", "", "the tip of main has no buf.yaml")
	r.write("proto/a.proto", "1")
	first := r.commit()
	check("in the commit that brings the protocol", "", "has no buf.yaml")
	r.write("proto/a.proto", "2")
	check("with a change in hand", first, "the tip of main")
	second := r.commit()
	check("on main", first, "the commit before main")
	r.git("checkout", "-q", "-b", "topic")
	r.write("other", "3")
	r.commit()
	check("on a branch", second, "the tip of main")
	r.git("branch", "-q", "-D", "main")
	check("where main is not known", second, "the commit before HEAD")
}
