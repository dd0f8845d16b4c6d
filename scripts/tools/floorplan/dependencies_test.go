package floorplan

import (
	"os"
	"slices"
	"testing"
)

// TestDependenciesHaveTheirReason holds the imports of the workspace against docs/DEPENDENCIES.md.
func TestDependenciesHaveTheirReason(t *testing.T) {
	table, err := os.ReadFile("../../../docs/DEPENDENCIES.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range Unlisted(workspace(t), Listed(string(table))) {
		t.Errorf("%s has no line in docs/DEPENDENCIES.md: write there what it is for and why this one, or do without it", i)
	}
}

func TestUnlisted(t *testing.T) {
	listed := Listed("# x\n| module | why |\n|---|---|\n| `example.com/a/v2` | x |\n| `example.com/b` | x |\n")
	if want := []string{"example.com/a/v2", "example.com/b"}; !slices.Equal(listed, want) {
		t.Fatalf("Listed: %q, want %q", listed, want)
	}
	packages := []Package{{
		ImportPath:   House + "pkg/x",
		Imports:      []string{"fmt", "example.com/a/v2/sub", House + "pkg/im"},
		TestImports:  []string{"example.com/c"},
		XTestImports: []string{"example.com/b", "example.com/bb", "example.com/c"},
	}}
	got := Unlisted(packages, listed)
	if want := []string{"example.com/c (imported by pkg/x)", "example.com/bb (imported by pkg/x)"}; !slices.Equal(got, want) {
		t.Errorf("Unlisted: %q, want %q", got, want)
	}
}
