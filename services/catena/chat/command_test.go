package chat

import (
	"reflect"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	tests := []struct {
		line string
		want command
		err  string // part of the error
	}{
		{line: "hello  there ", want: command{rest: "hello  there"}},
		{line: "//slash", want: command{rest: "/slash"}},
		{line: "//", want: command{rest: "/"}},
		{line: "/list", want: command{name: "list"}},
		{line: " /LIST ", want: command{name: "list"}},
		{line: "/open bob", want: command{name: "open", args: []string{"bob"}, rest: "bob"}},
		{line: `/group "The team" bob  carol`, want: command{name: "group", args: []string{"The team", "bob", "carol"}, rest: `"The team" bob  carol`}},
		{line: `/group "" bob`, want: command{name: "group", args: []string{"", "bob"}, rest: `"" bob`}},
		{line: "/to bob,carol  hi you", want: command{name: "to", args: []string{"bob,carol", "hi", "you"}, rest: "bob,carol  hi you"}},
		{line: "/open", err: "usage: /open NUMBER|USER|ID"},
		{line: "/quit now", err: "usage: /quit"},
		{line: "/to bob", err: "usage: /to USER,USER TEXT"},
		{line: `/group "The team`, err: `a " is not closed`},
		{line: "/frobnicate", err: "there is no /frobnicate"},
		{line: "/", err: "there is no /"},
	}
	for _, tt := range tests {
		got, err := parse(tt.line)
		switch {
		case tt.err != "":
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("parse(%q): %v, want %q", tt.line, err, tt.err)
			}
		case err != nil || !reflect.DeepEqual(got, tt.want):
			t.Errorf("parse(%q) = %+v, %v, want %+v", tt.line, got, err, tt.want)
		}
	}
}

func TestHelpNamesEveryCommand(t *testing.T) {
	text := strings.Join(help(), "\n")
	for _, u := range usage {
		if !strings.Contains(text, "/"+u.name) {
			t.Errorf("/help does not name /%s", u.name)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(`/group "a b" c`)
	f.Add("//x")
	f.Fuzz(func(t *testing.T, line string) {
		c, err := parse(line)
		if err == nil && c.name == "" && strings.HasPrefix(strings.TrimSpace(line), "/") && !strings.HasPrefix(c.rest, "/") {
			t.Errorf("%q is taken for the message %q", line, c.rest)
		}
	})
}
