package conf

import (
	"bytes"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// Render writes cfg as a YAML file that Load reads back: every key with its value, and its doc as a comment above it.
// Secrets are written as empty text.
func Render[T any](cfg *T) ([]byte, error) {
	if _, err := walk(cfg); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	render(&out, reflect.ValueOf(cfg).Elem(), "")
	return out.Bytes(), nil
}

func render(out *bytes.Buffer, v reflect.Value, indent string) {
	for i := range v.NumField() {
		sf := v.Type().Field(i)
		name, ok := sf.Tag.Lookup("conf")
		if !ok {
			continue
		}
		doc := sf.Tag.Get("doc")
		if accepted := sf.Tag.Get("oneof"); accepted != "" {
			doc += " (" + strings.Join(strings.Fields(accepted), " | ") + ")"
		}
		if indent == "" && out.Len() > 0 {
			out.WriteByte('\n')
		}
		fmt.Fprintf(out, "%s# %s\n%s%s:", indent, doc, indent, name)
		if sf.Type.Kind() == reflect.Struct {
			out.WriteByte('\n')
			render(out, v.Field(i), indent+"  ")
			continue
		}
		fmt.Fprintf(out, " %s\n", scalar(v.Field(i), sf.Tag.Get("secret") == "true"))
	}
}

// scalar is a value in YAML's flow style.
func scalar(v reflect.Value, secret bool) string {
	switch x := v.Interface().(type) {
	case time.Duration:
		return shortDuration(x)
	case Bytes:
		return x.String()
	case string:
		if secret {
			x = ""
		}
		return strconv.Quote(x)
	}
	switch v.Kind() {
	case reflect.Slice:
		parts := make([]string, v.Len())
		for i := range parts {
			parts[i] = scalar(v.Index(i), secret)
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case reflect.Struct:
		var parts []string
		for i := range v.NumField() {
			if sf := v.Type().Field(i); sf.Tag.Get("conf") != "" {
				parts = append(parts, sf.Tag.Get("conf")+": "+scalar(v.Field(i), sf.Tag.Get("secret") == "true"))
			}
		}
		return "{" + strings.Join(parts, ", ") + "}"
	}
	return fmt.Sprint(v.Interface())
}

// shortDuration is d without the zero units that Duration.String ends with: 1h for 1h0m0s.
func shortDuration(d time.Duration) string {
	text := d.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(text, zero) {
			text = strings.TrimSuffix(text, zero[1:])
		}
	}
	return text
}
