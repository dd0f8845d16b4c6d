package plan

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"text/tabwriter"
)

// String is the value and its unit, such as 35 us.
func (u Unit) String() string { return amount(u.Value, u.Per) }

// plus is the sum of two units, for one line.
func (u Unit) plus(v Unit) Unit { return Unit{Value: u.Value + v.Value, Per: u.Per} }

// amount is v in as many digits as a plan is worth.
func amount(v float64, unit string) string {
	switch unit {
	case "B", "B/s":
		return scaled(v, 1000, []string{" B", " kB", " MB", " GB", " TB", " PB", " EB"}) + strings.TrimPrefix(unit, "B")
	case "s":
		if v < 1e-3 {
			return short(v*1e6) + " us"
		}
		return short(v) + " s"
	case "us", "cores":
		return short(v) + " " + unit
	}
	return count(v) + unit
}

func count(v float64) string { return scaled(v, 1000, []string{"", " k", " M", " G", " T", " P"}) }

func scaled(v, by float64, names []string) string {
	i := 0
	for v >= by*0.9995 && i < len(names)-1 {
		v, i = v/by, i+1
	}
	return short(v) + names[i]
}

// short is v with three digits.
func short(v float64) string {
	if v == 0 || v >= 1000 {
		return fmt.Sprintf("%.0f", v)
	}
	digits := min(max(2-int(math.Floor(math.Log10(v))), 0), 3)
	text := strconv.FormatFloat(v, 'f', digits, 64)
	if strings.Contains(text, ".") {
		text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
	}
	return text
}

// whole is n with its thousands apart.
func whole(n int) string {
	text := strconv.Itoa(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

const footnote = `~ an assumed unit is behind it: no TiKV, no NATS on large machines and no network between machines was measured. Units
were measured with one process on 2 cores (catena plan --units); a core of yours may do more, and load is never even.
PD (3 small nodes), proxies and backups come on top.
`

// Write writes the plan for people.
func (p *Plan) Write(w io.Writer) error {
	var b strings.Builder
	p.writeHead(&b)
	p.writeLoad(&b)
	p.writeParts(&b)
	p.writeEnd(&b)
	_, err := io.WriteString(w, trimmed(b.String()))
	return err
}

// trimmed is a text without the blanks at the ends of its lines, which tabwriter leaves.
func trimmed(text string) string {
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.Join(lines, "\n")
}

func (p *Plan) writeHead(b *strings.Builder) {
	c := p.Config
	fmt.Fprintf(b, "%s users, each %s messages a day; %s online in the busiest minute, which is %s times the mean\n",
		whole(int(c.Users)), short(c.MessagesPerDay), percent(c.OnlineShare), short(c.PeakFactor))
	fmt.Fprintf(b, "%s of the messages to groups of %s; bodies of %s kept %s days; %d copies; %s of each resource free\n\n",
		percent(c.GroupShare), short(c.GroupMembers), amount(c.Body, "B"), short(c.RetentionDays), c.Replicas, percent(c.Headroom))
	if p.Cells == 1 {
		b.WriteString("one cell carries them\n\n")
		return
	}
	fmt.Fprintf(b, "%s cells of %s users each; one cell for all of them would need\n", whole(p.Cells), count(c.Users/float64(p.Cells)))
	t := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	for _, l := range p.Limits {
		if l.Broken() {
			fmt.Fprintf(t, "  %s\t%s\tof at most %s\t%s\n", l.What, count(l.Needed), count(l.Most), l.Why)
		}
	}
	t.Flush() //nolint:errcheck // a strings.Builder takes everything
	b.WriteString("Cells know nothing of each other yet: users of one cannot write to users of another.\n\n")
}

func percent(v float64) string { return short(100*v) + " %" }

func (p *Plan) writeLoad(b *strings.Builder) {
	l := p.Load
	b.WriteString(p.each() + "in a second of the busiest minute\n")
	t := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	for _, r := range []struct {
		name  string
		value float64
		note  string
	}{
		{"messages", l.Messages, ""},
		{"user chain entries", l.Entries, short(l.Entries/l.Messages) + " a message"},
		{"deliveries", l.Deliveries, "to sockets of users online"},
		{"entries pulled", l.Pulls, "what was not delivered, and the clients of a lost edge"},
		{"stream messages", l.StreamMessages(), fmt.Sprintf("%s from edges, %s fan-out; a batch takes %v", count(l.Commands), count(l.Fanouts), p.Config.BatchTime)},
		{"keys written", l.KeysWritten, ""},
		{"keys read", l.KeysRead, ""},
		{"session renewals", l.Renewals, count(l.Announcements) + " at once when a sequencer is lost"},
	} {
		fmt.Fprintf(t, "  %s\t%s\t%s\n", r.name, count(r.value), r.note)
	}
	t.Flush() //nolint:errcheck // as above
	fmt.Fprintf(b, "  partitions.conv: %d, partitions.user: %d, stream.max_bytes: %.0fGB\n\n",
		l.ConvPartitions, l.UserPartitions, math.Ceil(l.StreamMaxBytes/1e9))
}

func (p *Plan) each() string {
	if p.Cells == 1 {
		return ""
	}
	return "each cell: "
}

func (p *Plan) writeParts(b *strings.Builder) {
	fmt.Fprintf(b, "%snodes of %s cores, %s, %s\n", p.each(), short(p.Config.NodeCores),
		scaled(p.Config.NodeMemory, 1024, []string{" B", " KiB", " MiB", " GiB", " TiB"}), amount(p.Config.Disk, "B"))
	t := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	for _, part := range p.Parts {
		fmt.Fprintf(t, "%s\t%s nodes\t%s\n", part.Name, whole(part.Nodes), part.Bound)
		for _, n := range part.Needs {
			mark := ""
			if n.Assumed {
				mark = "~"
			}
			fmt.Fprintf(t, "  %s\t%s\tof %s a node\t%s\t%s%s\n", n.Resource, amount(n.Amount, n.Unit), amount(n.Usable, n.Unit),
				short(n.Nodes), mark, n.From)
		}
	}
	t.Flush() //nolint:errcheck // as above
	fmt.Fprintf(b, "TiKV has %s regions, and compresses to %s of what keys and values are\n\n", count(p.Load.Regions), short(p.Load.Compression))
}

func (p *Plan) writeEnd(b *strings.Builder) {
	t := p.Totals
	fmt.Fprintf(b, "all in all %s nodes, %s cores, %s of memory; %s stored with all copies, on %s of disk\n\n",
		whole(t.Nodes), count(t.Cores), amount(t.Memory, "B"), amount(t.Stored, "B"), amount(t.Disk, "B"))
	b.WriteString(footnote)
}

// WriteUnits writes what plans are computed from.
func WriteUnits(w io.Writer) error {
	var b strings.Builder
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "unit\tvalue\t\twhere from")
	for _, u := range Units() {
		basis := "assumed"
		if u.Measured {
			basis = "measured"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", u.Name, u, basis, u.From)
	}
	t.Flush() //nolint:errcheck // a strings.Builder takes everything
	_, err := io.WriteString(w, trimmed(b.String()))
	return err
}
