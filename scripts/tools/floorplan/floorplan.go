// Package floorplan holds the plan of the house (docs/DESIGN.md §8) and the rules that keep it: which package stands on
// which floor, what it may import of the house, and which outside modules are kept in one room. Check reports every
// breach with its reason; the test beside it runs Check over the workspace.
package floorplan

import (
	"fmt"
	"slices"
	"strings"
)

// House is the prefix of every import path of the project.
const House = "github.com/catena-im/catena/"

// A Package is what Check needs of a line of `go list -json`.
type Package struct {
	ImportPath   string
	Doc          string // first sentence of the package comment
	Imports      []string
	TestImports  []string // of test files in the package
	XTestImports []string // of test files in its _test package
	GoFiles      []string
}

// Check holds packages against the plan and returns one line for each breach, sorted.
func Check(packages []Package) []string {
	var breaches []string
	for _, p := range packages {
		for _, b := range check(p) {
			breaches = append(breaches, strings.TrimPrefix(p.ImportPath, House)+b)
		}
	}
	slices.Sort(breaches)
	return slices.Compact(breaches)
}

func check(p Package) []string {
	path := strings.TrimPrefix(p.ImportPath, House)
	room, ok := find(path)
	if !ok {
		return []string{" has no place in the house: put it into a room of scripts/tools/floorplan/plan.go and docs/DESIGN.md §8, " +
			"or give it one there and say what it is for"}
	}
	var breaches []string
	if p.Doc == "" && len(p.GoFiles) > 0 {
		breaches = append(breaches, " has no package comment: one paragraph that says what the package promises and what it does not")
	}
	for _, i := range p.Imports {
		breaches = append(breaches, breach(path, room, i, false)...)
	}
	for _, i := range slices.Concat(p.TestImports, p.XTestImports) {
		breaches = append(breaches, breach(path, room, i, true)...)
	}
	return breaches
}

// breach says what is wrong with one import of the package at path, if anything is.
func breach(path string, from Room, imported string, test bool) []string {
	why := ""
	if target, ok := strings.CutPrefix(imported, House); ok {
		if to, known := find(target); known && to.Path != from.Path { // an unknown target is reported for itself
			why = inside(from, to, test)
		}
	} else {
		why = outside(path, from, imported, test)
	}
	if why == "" {
		return nil
	}
	if test {
		why += " (in a test file)"
	}
	return []string{" imports " + strings.TrimPrefix(imported, House) + ": " + why}
}

// inside judges an import between two rooms.
func inside(from, to Room, test bool) string {
	switch {
	case from.Wing == Nouns && !test:
		return "the nouns import the standard library only, so that everything may import the nouns"
	case from.Wing == Tools || to.Wing == Tools:
		return "the tools and the house do not know each other"
	case from.Wing == SDK && to.Floor > 0:
		return "an app that uses the SDK must not get the server with it; the SDK imports the wire contract (proto) only"
	case from.Wing == Driver && to.Floor > 0 && to.Wing != SDK:
		return "the checker and the load generator know the server from outside only: the SDK (pkg/client) and the wire contract (proto)"
	case from.Floor == servicesFloor && to.Floor == servicesFloor:
		return "services never import one another, they meet over subjects; what both need belongs into pkg, wiring into services/catena"
	case to.Floor > from.Floor:
		return fmt.Sprintf("imports point down only, and this one goes from floor %d up to floor %d; "+
			"let the lower package state the interface it needs and be handed the upper one", from.Floor, to.Floor)
	case to.Floor == from.Floor && !slices.Contains(from.Beside, to.Path):
		return fmt.Sprintf("both stand on floor %d and imports point down only; move what both need to a lower floor, "+
			"or state the neighbour in the plan if the page puts it first", from.Floor)
	}
	return ""
}

// outside judges an import of the package at path from outside of the house.
func outside(path string, from Room, imported string, test bool) string {
	if from.Wing == Nouns && !test && strings.Contains(strings.SplitN(imported, "/", 2)[0], ".") {
		return "the nouns import the standard library only, so that everything may import the nouns"
	}
	for _, k := range Keeps {
		if !below(imported, k.Module) || below(path, k.Room) || k.Also != "" && below(path, k.Also) || test && k.Tests {
			continue
		}
		rooms := k.Room
		if k.Also != "" {
			rooms += " and " + k.Also
		}
		return "this module is imported in " + rooms + " only: " + k.Why
	}
	return ""
}

// find returns the room that path stands in: the one with the longest matching folder.
func find(path string) (Room, bool) {
	var found Room
	for _, r := range Rooms {
		if below(path, r.Path) && len(r.Path) > len(found.Path) {
			found = r
		}
	}
	return found, found.Path != ""
}

// below reports whether path is folder or stands below it. A major version suffix belongs to the folder.
func below(path, folder string) bool {
	rest, ok := strings.CutPrefix(path, folder)
	return ok && (rest == "" || rest[0] == '/')
}
