package chat

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
)

// command is a parsed line. name is empty for a message, which is then in rest.
type command struct {
	name string
	args []string // the words of rest; "quoted words" are one
	rest string
}

// usage of the slash commands, in the order in which help shows them.
var usage = []struct {
	name, args, what string
	least            int // arguments
}{
	{"list", "", "show your conversations", 0},
	{"open", "NUMBER|USER|ID", "open a conversation and show its last messages", 1},
	{"new", "USER", "start a conversation with a user; with yourself for notes", 1},
	{"group", "TITLE USER...", `start a group; "quote" a title of several words`, 1},
	{"more", "", "show older messages", 0},
	{"add", "USER...", "add members to the open group", 1},
	{"remove", "USER...", "remove members from the open group", 1},
	{"leave", "", "leave the open group", 0},
	{"who", "", "show who is in the open conversation", 0},
	{"to", "USER,USER TEXT", "send something that only these members see", 2},
	{"note", "TEXT", "send something that only you see", 1},
	{"close", "", "close the open conversation", 0},
	{"help", "", "show this", 0},
	{"quit", "", "leave", 0},
}

// parse reads a line. "//x" is the message "/x".
func parse(line string) (command, error) {
	line = strings.TrimSpace(line)
	after, slash := strings.CutPrefix(line, "/")
	if !slash || strings.HasPrefix(after, "/") {
		return command{rest: after}, nil
	}
	name, rest, _ := strings.Cut(after, " ")
	c := command{name: strings.ToLower(name), rest: strings.TrimSpace(rest)}
	for _, u := range usage {
		if u.name != c.name {
			continue
		}
		var err error
		if c.args, err = words(c.rest); err != nil {
			return c, err
		}
		if len(c.args) < u.least || u.args == "" && len(c.args) > 0 {
			return c, fmt.Errorf("usage: %s", strings.TrimSpace("/"+u.name+" "+u.args))
		}
		return c, nil
	}
	return c, fmt.Errorf("there is no /%s; /help shows what there is (begin a message with // to send a /)", name)
}

// words splits at blanks, outside of double quotes.
func words(text string) ([]string, error) {
	var out []string
	var word strings.Builder
	quoted, begun := false, false
	for _, r := range text {
		switch {
		case r == '"':
			quoted, begun = !quoted, true
		case unicode.IsSpace(r) && !quoted:
			if begun {
				out = append(out, word.String())
			}
			word.Reset()
			begun = false
		default:
			word.WriteRune(r)
			begun = true
		}
	}
	if quoted {
		return nil, errors.New(`a " is not closed`)
	}
	if begun {
		out = append(out, word.String())
	}
	return out, nil
}

func help() []string {
	lines := []string{"What you write goes to the open conversation. Besides:"}
	for _, u := range usage {
		lines = append(lines, fmt.Sprintf("  %-22s %s", strings.TrimSpace("/"+u.name+" "+u.args), u.what))
	}
	return lines
}

// number reads the number of a line of the list, 1 and up.
func number(text string) (int, bool) {
	n, err := strconv.Atoi(text)
	return n, err == nil && n > 0
}
