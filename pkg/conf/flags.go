package conf

import (
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// keyAnnotation marks the flags that Bind makes with their key.
const keyAnnotation = "catena.conf.key"

// Bind makes a flag for every key of cfg, except secrets and lists of structs: stream.max_bytes is --stream-max-bytes.
// Flags show the defaults that cfg holds; they change cfg only through Load.
func Bind[T any](set *pflag.FlagSet, cfg *T) error {
	fields, err := walk(cfg)
	if err != nil {
		return err
	}
	for _, f := range fields {
		if f.secret() || f.structs() {
			continue
		}
		usage := f.tag.Get("doc")
		if accepted := f.tag.Get("oneof"); accepted != "" {
			usage += " (" + strings.Join(strings.Fields(accepted), "|") + ")"
		}
		flag := set.VarPF(&text{value: f.text(), kind: f.kind()}, flagName(f.key), "", usage)
		flag.Annotations = map[string][]string{keyAnnotation: {f.key}}
		if f.value.Kind() == reflect.Bool {
			flag.NoOptDefVal = "true"
		}
	}
	return nil
}

func flagName(key string) string { return strings.NewReplacer(".", "-", "_", "-").Replace(key) }

func (f field) structs() bool {
	return f.value.Kind() == reflect.Slice && f.value.Type().Elem().Kind() == reflect.Struct
}

// text is the value of the field as a flag or variable would give it.
func (f field) text() string {
	if f.value.Kind() == reflect.Slice {
		return strings.Join(f.value.Interface().([]string), ",")
	}
	if f.value.Type() == durationType {
		return shortDuration(time.Duration(f.value.Int()))
	}
	return fmt.Sprint(f.value.Interface())
}

// kind is what the help text calls the type.
func (f field) kind() string {
	switch {
	case f.value.Type() == durationType:
		return "duration"
	case f.value.Type() == bytesType:
		return "size"
	case f.value.Kind() == reflect.Slice:
		return "strings"
	}
	return f.value.Kind().String()
}

// text is a flag that keeps what was given, for Load to judge.
type text struct{ value, kind string }

func (t *text) String() string { return t.value }
func (t *text) Type() string   { return t.kind }
func (t *text) Set(v string) error {
	t.value = v
	return nil
}
