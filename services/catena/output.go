package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/catena-im/catena/services/catena/show"
)

// printJSON writes m as one line: the JSON of the catena.v1.json frames, with every field, also those that are zero.
func printJSON(out io.Writer, m proto.Message) error {
	raw, err := protojson.MarshalOptions{EmitDefaultValues: true}.Marshal(m)
	if err != nil {
		return fmt.Errorf("print: %w", err)
	}
	var line bytes.Buffer // protojson varies its blanks on purpose
	if err := json.Compact(&line, raw); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	line.WriteByte('\n')
	_, err = out.Write(line.Bytes())
	return err
}

func viewOf(user string) show.View { return show.View{Me: user, Now: time.Now()} }
