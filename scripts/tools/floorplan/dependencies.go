package floorplan

import (
	"regexp"
	"slices"
	"strings"
)

var row = regexp.MustCompile("(?m)^\\| `([^`]+)` \\|")

// Listed are the modules that the table of docs/DEPENDENCIES.md names, in its order.
func Listed(table string) []string {
	var modules []string
	for _, m := range row.FindAllStringSubmatch(table, -1) {
		modules = append(modules, m[1])
	}
	return modules
}

// Unlisted returns the outside imports of packages, tests included, that belong to no module of listed, each with one
// package that imports it.
func Unlisted(packages []Package, listed []string) []string {
	var missing []string
	seen := map[string]bool{}
	for _, p := range packages {
		for _, i := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
			first, _, _ := strings.Cut(i, "/")
			if seen[i] || !strings.Contains(first, ".") || strings.HasPrefix(i, House) {
				continue
			}
			seen[i] = true
			if !slices.ContainsFunc(listed, func(m string) bool { return below(i, m) }) {
				missing = append(missing, i+" (imported by "+strings.TrimPrefix(p.ImportPath, House)+")")
			}
		}
	}
	return missing
}
