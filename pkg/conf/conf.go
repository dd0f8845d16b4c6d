// Package conf fills a documented struct from layers of configuration, each over the one before: the values that are in
// the struct already (the defaults), a YAML file, CATENA_* environment variables, flags. It is strict: a key that the
// struct does not have, or a value that does not fit, is an error that names the key, the value, where it comes from and
// what would be right, and all of them are reported at once. It knows no keys of its own and does not watch for changes.
//
// A field takes part when it has a conf tag; a struct field is a section. The tags are
//
//	conf:"max_bytes"      the key below the section's; stream.max_bytes in full
//	doc:"most bytes …"    one line for people; every field and section has it
//	oneof:"fsync interval" the accepted strings
//	min:"1" max:"64"      bounds of a number, duration or byte size, both included
//	secret:"true"         the value is never printed, and there is no flag for it
//
// Fields are string, bool, int, int64, float64, time.Duration, Bytes, []string and slices of structs of such fields.
package conf

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/providers/posflag"
	"github.com/knadh/koanf/v2"
	"github.com/spf13/pflag"
)

// EnvPrefix begins every environment variable that is a key: stream.max_bytes is CATENA_STREAM_MAX_BYTES.
const EnvPrefix = "CATENA_"

// Sources are the layers over the defaults, in the order in which they win.
type Sources struct {
	File  string         // path of a YAML file; empty: none
	Env   []string       // as os.Environ returns it; nil: none
	Other []string       // environment variables with the prefix that are no keys
	Flags *pflag.FlagSet // only flags that Bind made and that were set count; nil: none
}

// A Validator checks what tags cannot say. Wrong makes its errors.
type Validator interface{ Validate() error }

// Load fills cfg, a struct that holds the defaults. After an error cfg is half filled and not to be used.
func Load[T any](cfg *T, src Sources) error {
	fields, err := walk(cfg)
	if err != nil {
		return err
	}
	layers, err := read(fields, src)
	if err != nil {
		return err
	}
	var wrong []error
	for _, l := range layers {
		wrong = append(wrong, l.apply(fields)...)
	}
	wrong = append(wrong, check(fields)...)
	if v, ok := any(cfg).(Validator); ok && len(wrong) == 0 {
		wrong = append(wrong, v.Validate())
	}
	return errors.Join(wrong...)
}

// layer is one source, read and flattened, but not held against the fields yet.
type layer struct {
	name   string         // for errors: "file catena.yaml"
	values map[string]any // by full key
	names  func(key string) string
}

func read(fields []field, src Sources) ([]layer, error) {
	var layers []layer
	add := func(l layer, p koanf.Provider, parser koanf.Parser) error {
		k := koanf.New(".")
		if err := k.Load(p, parser); err != nil {
			return fmt.Errorf("%s: %w", l.name, err)
		}
		l.values = k.All()
		layers = append(layers, l)
		return nil
	}
	same := func(key string) string { return key }
	if src.File != "" {
		content, err := os.ReadFile(src.File)
		if err != nil {
			return nil, fmt.Errorf("read the configuration: %w", err)
		}
		if err := add(layer{name: "file " + src.File, names: same}, raw(content), yaml.Parser()); err != nil {
			return nil, err
		}
	}
	if src.Env != nil {
		l := layer{name: "environment", names: envName}
		if err := add(l, environment(fields, src), nil); err != nil {
			return nil, err
		}
	}
	if src.Flags != nil {
		l := layer{name: "flag", names: func(key string) string { return "--" + flagName(key) }}
		if err := add(l, flags(src.Flags), nil); err != nil {
			return nil, err
		}
	}
	return layers, nil
}

// environment reads the variables that are keys. One that is none is kept under its own name, to be reported.
func environment(fields []field, src Sources) koanf.Provider {
	keys := map[string]string{}
	for _, f := range fields {
		keys[envName(f.key)] = f.key
	}
	return env.Provider("", env.Opt{
		Prefix:      EnvPrefix,
		EnvironFunc: func() []string { return src.Env },
		TransformFunc: func(name, value string) (string, any) {
			if slices.Contains(src.Other, name) {
				return "", nil
			}
			if key, ok := keys[name]; ok {
				return key, value
			}
			return name, value
		},
	})
}

func flags(set *pflag.FlagSet) koanf.Provider {
	return posflag.ProviderWithFlag(set, "", nil, func(f *pflag.Flag) (string, any) {
		if key, ok := f.Annotations[keyAnnotation]; ok && f.Changed {
			return key[0], f.Value.String()
		}
		return "", nil
	})
}

// apply sets the fields that the layer has values for.
func (l layer) apply(fields []field) []error {
	var wrong []error
	keys := make([]string, 0, len(l.values))
	for key := range l.values {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		if err := l.set(fields, key, l.values[key]); err != nil {
			wrong = append(wrong, err)
		}
	}
	return wrong
}

func (l layer) set(fields []field, key string, value any) error {
	at := slices.IndexFunc(fields, func(f field) bool { return f.key == key })
	if at >= 0 {
		return fields[at].set(l, value)
	}
	if below := section(fields, key); len(below) > 0 {
		if empty, ok := value.(map[string]any); value == nil || ok && len(empty) == 0 {
			return nil // a section whose lines are all commented out
		}
		return fmt.Errorf("%s: %s (%s) is a section; set %s below it", key, show(value), l.name, strings.Join(below, ", "))
	}
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = l.names(f.key)
	}
	return fmt.Errorf("%s (%s): there is no such key; the nearest is %s", key, l.name, nearest(key, names))
}

// section lists the keys below key.
func section(fields []field, key string) []string {
	var below []string
	for _, f := range fields {
		if strings.HasPrefix(f.key, key+".") {
			below = append(below, f.key)
		}
	}
	return below
}

func envName(key string) string {
	return EnvPrefix + strings.ToUpper(strings.NewReplacer(".", "_", "-", "_").Replace(key))
}

// raw hands bytes to a parser.
type raw []byte

// ReadBytes returns the bytes themselves.
func (r raw) ReadBytes() ([]byte, error) { return r, nil }

// Read is never called: raw always comes with a parser.
func (r raw) Read() (map[string]any, error) { return nil, errors.New("conf: raw bytes need a parser") }
