package chat

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// maxLine bounds a line that is read, in bytes: the largest body and a command.
const maxLine = 65 << 10

// Plain reads and prints lines as they are: for pipes and terminals that cannot do more.
type Plain struct {
	in  *bufio.Scanner
	out io.Writer
}

// NewPlain makes a Plain screen.
func NewPlain(in io.Reader, out io.Writer) *Plain {
	s := bufio.NewScanner(in)
	s.Buffer(nil, maxLine)
	return &Plain{s, out}
}

// ReadLine is part of Screen. A line of more than 65 KiB ends the lines.
func (p *Plain) ReadLine() (string, error) {
	if p.in.Scan() {
		return p.in.Text(), nil
	}
	if err := p.in.Err(); err != nil {
		return "", err
	}
	return "", io.EOF
}

// Print is part of Screen.
func (p *Plain) Print(lines ...string) {
	for _, l := range lines {
		fmt.Fprintln(p.out, l)
	}
}

// Prompt is part of Screen; a plain screen has none.
func (p *Plain) Prompt(string) {}

// Terminal edits lines, keeps a history of them, and prints above the line that is being written.
type Terminal struct {
	*term.Terminal
	fd       int
	restored func() error
}

// NewTerminal puts the terminal that in and out are into raw mode, until Close.
func NewTerminal(in, out *os.File) (*Terminal, error) {
	fd := int(in.Fd())
	before, err := term.MakeRaw(fd)
	if err != nil {
		return nil, fmt.Errorf("set up the terminal: %w", err)
	}
	t := &Terminal{
		Terminal: term.NewTerminal(struct {
			io.Reader
			io.Writer
		}{in, out}, ""),
		fd:       fd,
		restored: func() error { return term.Restore(fd, before) },
	}
	t.resize()
	return t, nil
}

// Usable reports whether in and out are a terminal that Terminal can drive.
func Usable(in, out *os.File) bool {
	return term.IsTerminal(int(in.Fd())) && term.IsTerminal(int(out.Fd())) && os.Getenv("TERM") != "dumb"
}

// resize follows the size of the window.
func (t *Terminal) resize() {
	if w, h, err := term.GetSize(t.fd); err == nil && w > 0 && h > 0 {
		_ = t.SetSize(w, h) // fails when writing does, which Print meets too
	}
}

// Print is part of Screen.
func (t *Terminal) Print(lines ...string) {
	t.resize()
	text := ""
	if len(lines) > 0 {
		text = strings.Join(lines, "\n") + "\n"
	}
	_, _ = t.Write([]byte(text)) // empty, too: it draws a new prompt; a terminal that is gone ends ReadLine
}

// Prompt is part of Screen.
func (t *Terminal) Prompt(text string) { t.SetPrompt(text) }

// Close gives the terminal back as it was.
func (t *Terminal) Close() error { return t.restored() }
