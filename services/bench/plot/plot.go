// Package plot draws lines over two axes as an SVG image: what a benchmark found at several points. It chooses scales,
// marks and colours; it knows nothing of what it draws.
package plot

import (
	"fmt"
	"html"
	"math"
	"strconv"
	"strings"
)

// Chart is what is drawn.
type Chart struct {
	Title, X, Y string // X and Y with their units
	LogX, LogY  bool   // logarithmic; values that are not positive are left out
	Lines       []Line
	Bound       float64 // a level of Y that is marked; 0: none
}

// Line is one series, drawn in the order of its points.
type Line struct {
	Name   string
	Points []Point
}

// Point is one value.
type Point struct{ X, Y float64 }

// The image, in pixels.
const (
	width, height            = 720, 440
	left, right, top, bottom = 80, 170, 40, 50
	plotWidth                = width - left - right
	plotHeight               = height - top - bottom
	gridColour               = "#dddddd"
	textColour               = "#333333"
)

var colours = []string{"#1f77b4", "#d62728", "#2ca02c", "#ff7f0e", "#9467bd", "#8c564b"}

// SVG draws the chart.
func (c Chart) SVG() []byte {
	x, y := c.axes()
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12" fill="%s">`+"\n",
		width, height, width, height, textColour)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="white"/>`+"\n", width, height)
	text(&b, left, 24, "start", 15, c.Title)
	for _, v := range x.marks() {
		at := left + x.place(v)*plotWidth
		fmt.Fprintf(&b, `<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="%s"/>`+"\n", at, top, at, top+plotHeight, gridColour)
		text(&b, at, top+plotHeight+18, "middle", 12, short(v))
	}
	for _, v := range y.marks() {
		at := top + (1-y.place(v))*plotHeight
		fmt.Fprintf(&b, `<line x1="%d" y1="%.1f" x2="%d" y2="%.1f" stroke="%s"/>`+"\n", left, at, left+plotWidth, at, gridColour)
		text(&b, left-8, at+4, "end", 12, short(v))
	}
	text(&b, left+plotWidth/2, height-10, "middle", 12, c.X)
	fmt.Fprintf(&b, `<text x="18" y="%d" text-anchor="middle" transform="rotate(-90 18 %d)">%s</text>`+"\n",
		top+plotHeight/2, top+plotHeight/2, html.EscapeString(c.Y))
	if c.Bound > 0 {
		at := top + (1-y.place(c.Bound))*plotHeight
		fmt.Fprintf(&b, `<line x1="%d" y1="%.1f" x2="%d" y2="%.1f" stroke="%s" stroke-dasharray="6 4"/>`+"\n", left, at, left+plotWidth, at, textColour)
		text(&b, left+plotWidth+6, at+4, "start", 12, "bound "+short(c.Bound))
	}
	for i, l := range c.Lines {
		l.draw(&b, i, x, y)
	}
	b.WriteString("</svg>\n")
	return []byte(b.String())
}

func text(b *strings.Builder, x, y float64, anchor string, size int, s string) {
	fmt.Fprintf(b, `<text x="%.1f" y="%.1f" text-anchor="%s" font-size="%d">%s</text>`+"\n", x, y, anchor, size, html.EscapeString(s))
}

func (l Line) draw(b *strings.Builder, number int, x, y axis) {
	colour := colours[number%len(colours)]
	var path []string
	for _, p := range l.Points {
		if !x.holds(p.X) || !y.holds(p.Y) {
			continue
		}
		at := fmt.Sprintf("%.1f,%.1f", left+x.place(p.X)*plotWidth, top+(1-y.place(p.Y))*plotHeight)
		path = append(path, at)
		cx, cy, _ := strings.Cut(at, ",")
		fmt.Fprintf(b, `<circle cx="%s" cy="%s" r="3" fill="%s"/>`+"\n", cx, cy, colour)
	}
	fmt.Fprintf(b, `<polyline points="%s" fill="none" stroke="%s" stroke-width="1.5"/>`+"\n", strings.Join(path, " "), colour)
	legend := float64(top + 14 + 18*number)
	fmt.Fprintf(b, `<line x1="%d" y1="%.1f" x2="%d" y2="%.1f" stroke="%s" stroke-width="3"/>`+"\n", width-right+10, legend-4, width-right+28, legend-4, colour)
	text(b, width-right+34, legend, "start", 12, l.Name)
}

func (c Chart) axes() (x, y axis) {
	x, y = axis{log: c.LogX}, axis{log: c.LogY}
	for _, l := range c.Lines {
		for _, p := range l.Points {
			if x.holds(p.X) && y.holds(p.Y) {
				x.take(p.X)
				y.take(p.Y)
			}
		}
	}
	if c.Bound > 0 {
		y.take(c.Bound)
	}
	x.round()
	y.round()
	return x, y
}

// axis maps values to 0…1.
type axis struct {
	log       bool
	some      bool
	low, high float64
	step      float64 // between marks of a linear axis
}

func (a *axis) holds(v float64) bool {
	return !math.IsNaN(v) && !math.IsInf(v, 0) && (!a.log || v > 0)
}

func (a *axis) take(v float64) {
	if !a.some {
		a.low, a.high, a.some = v, v, true
	}
	a.low, a.high = min(a.low, v), max(a.high, v)
}

// round widens the axis to whole marks; a linear one begins at 0 where it can.
func (a *axis) round() {
	if a.log {
		if !a.some {
			a.low, a.high = 1, 10
		}
		a.low, a.high = math.Pow(10, math.Floor(math.Log10(a.low))), math.Pow(10, math.Ceil(math.Log10(a.high)))
		if a.low == a.high {
			a.high *= 10
		}
		return
	}
	a.low = min(a.low, 0)
	if a.high <= a.low {
		a.high = a.low + 1
	}
	a.step = nice((a.high - a.low) / 6)
	a.low, a.high = math.Floor(a.low/a.step)*a.step, math.Ceil(a.high/a.step)*a.step
}

// nice is the next of 1, 2, 5, 10, … above v.
func nice(v float64) float64 {
	magnitude := math.Pow(10, math.Floor(math.Log10(v)))
	for _, m := range []float64{1, 2, 5} {
		if m*magnitude >= v {
			return m * magnitude
		}
	}
	return 10 * magnitude
}

func (a axis) place(v float64) float64 {
	if a.log {
		return (math.Log10(v) - math.Log10(a.low)) / (math.Log10(a.high) - math.Log10(a.low))
	}
	return (v - a.low) / (a.high - a.low)
}

func (a axis) marks() (marks []float64) {
	if a.log {
		for v := a.low; v <= a.high*1.001; v *= 10 {
			marks = append(marks, v)
		}
		return marks
	}
	for i := 0; ; i++ {
		v := a.low + float64(i)*a.step
		if v > a.high+a.step/2 {
			return marks
		}
		marks = append(marks, v)
	}
}

// short shows a mark: 20000 as 20k.
func short(v float64) string {
	for _, u := range []struct {
		size float64
		name string
	}{{1e9, "G"}, {1e6, "M"}, {1e3, "k"}} {
		if math.Abs(v) >= u.size {
			return strconv.FormatFloat(v/u.size, 'g', 4, 64) + u.name
		}
	}
	return strconv.FormatFloat(v, 'g', 4, 64)
}
