package conf

import (
	"slices"
	"strings"
)

// nearest is the candidate that takes the fewest edits to get from text, compared without case; the first of equals.
func nearest(text string, candidates []string) string {
	return slices.MinFunc(candidates, func(a, b string) int {
		return distance(strings.ToLower(text), strings.ToLower(a)) - distance(strings.ToLower(text), strings.ToLower(b))
	})
}

// distance counts the insertions, deletions and replacements (Levenshtein) from a to b. A whole missing beginning, as
// of a key written without its section, counts as one.
func distance(a, b string) int {
	if strings.HasSuffix(b, "."+a) || strings.HasSuffix(b, "_"+a) {
		return 1
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
