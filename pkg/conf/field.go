package conf

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
)

// field is one leaf of the struct.
type field struct {
	key    string // in full: stream.max_bytes
	value  reflect.Value
	tag    reflect.StructTag
	source *string // where its value comes from, when not from the defaults
}

func (f field) secret() bool { return f.tag.Get("secret") == "true" }

var (
	durationType = reflect.TypeFor[time.Duration]()
	bytesType    = reflect.TypeFor[Bytes]()
)

// walk lists the leaves of a struct behind a pointer, in their order.
func walk(cfg any) ([]field, error) {
	v := reflect.ValueOf(cfg)
	if v.Kind() != reflect.Pointer || v.Elem().Kind() != reflect.Struct {
		return nil, fmt.Errorf("conf: %T is not a pointer to a struct", cfg)
	}
	return leaves(v.Elem(), "")
}

func leaves(v reflect.Value, prefix string) ([]field, error) {
	var fields []field
	for i := range v.NumField() {
		sf := v.Type().Field(i)
		name, ok := sf.Tag.Lookup("conf")
		if !ok {
			continue
		}
		key := prefix + name
		switch {
		case name == "" || strings.ContainsAny(name, ".- ") || strings.ToLower(name) != name:
			return nil, fmt.Errorf("conf: field %s has the key %q; use lower-case words joined by _", sf.Name, name)
		case sf.Tag.Get("doc") == "" || strings.Contains(sf.Tag.Get("doc"), "\n"):
			return nil, fmt.Errorf("conf: key %s needs one line of doc", key)
		}
		if sf.Type.Kind() == reflect.Struct {
			below, err := leaves(v.Field(i), key+".")
			if err != nil {
				return nil, err
			}
			fields = append(fields, below...)
			continue
		}
		if !fits(sf.Type) {
			return nil, fmt.Errorf("conf: key %s has the type %s, which is not supported", key, sf.Type)
		}
		fields = append(fields, field{key: key, value: v.Field(i), tag: sf.Tag, source: new(string)})
	}
	return fields, nil
}

func fits(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Slice:
		return t.Elem().Kind() == reflect.String || t.Elem().Kind() == reflect.Struct
	case reflect.Int64, reflect.Int, reflect.Float64, reflect.String, reflect.Bool:
		return t.PkgPath() == "" || slices.Contains([]reflect.Type{durationType, bytesType}, t)
	}
	return false
}
