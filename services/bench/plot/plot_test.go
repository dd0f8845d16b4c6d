package plot

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
)

// wellFormed reads an image as XML and returns the attributes of its circles.
func wellFormed(t *testing.T, image []byte) (circles int) {
	t.Helper()
	for d := xml.NewDecoder(bytes.NewReader(image)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return circles
		} else if err != nil {
			t.Fatalf("not well-formed: %v\n%s", err, image)
		}
		if e, ok := token.(xml.StartElement); ok && e.Name.Local == "circle" {
			circles++
		}
	}
}

func TestEveryPointIsDrawnThatCanBe(t *testing.T) {
	c := Chart{Title: "a < b & c", X: "rate/s", Y: "ms", LogX: true, LogY: true, Bound: 100, Lines: []Line{
		{"p50", []Point{{1000, 2}, {10_000, 5}, {20_000, 70}}},
		{"p99", []Point{{1000, 4}, {10_000, 0}, {20_000, math.NaN()}}},
	}}
	image := c.SVG()
	if got := wellFormed(t, image); got != 4 {
		t.Errorf("%d points are drawn, want 4", got)
	}
	for _, want := range []string{"a &lt; b &amp; c", "rate/s", ">ms<", ">p50<", ">10k<", "bound 100"} {
		if !strings.Contains(string(image), want) {
			t.Errorf("%q is missing", want)
		}
	}
}

func TestChartsWithoutSpreadAreDrawn(t *testing.T) {
	for _, c := range []Chart{
		{},
		{LogX: true, LogY: true},
		{Lines: []Line{{"one", []Point{{5, 5}}}}},
		{Lines: []Line{{"zero", []Point{{0, 0}}}}},
		{LogX: true, LogY: true, Lines: []Line{{"one", []Point{{10, 10}}}}},
		{Lines: []Line{{"below", []Point{{-3, -7}, {4, -1}}}}},
	} {
		image := c.SVG()
		wellFormed(t, image)
		if strings.Contains(string(image), "NaN") || strings.Contains(string(image), "Inf") {
			t.Errorf("%+v: a place is no number\n%s", c, image)
		}
	}
}

func TestMarksAreRound(t *testing.T) {
	a := axis{}
	a.take(0)
	a.take(23_400)
	a.round()
	var got []string
	for _, m := range a.marks() {
		got = append(got, short(m))
	}
	if want := "0 5k 10k 15k 20k 25k"; strings.Join(got, " ") != want {
		t.Errorf("marks: got %v, want %s", got, want)
	}
}
