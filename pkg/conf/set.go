package conf

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/knadh/koanf/maps"
	"github.com/knadh/koanf/parsers/yaml"
)

// set gives the field a value of a layer: what YAML decodes to, or the text of a flag or variable.
func (f field) set(l layer, value any) error {
	*f.source = l.name
	if err := assign(f.value, value, l.textual()); err != nil {
		return f.wrong(value, err)
	}
	return nil
}

// textual reports whether the layer's values are text that stands for any type.
func (l layer) textual() bool { return !strings.HasPrefix(l.name, "file ") }

// wrong makes the error for a value that does not fit. An error of an element of a list names its own key.
func (f field) wrong(value any, why error) error {
	var inner *elementError
	if errors.As(why, &inner) {
		return fmt.Errorf("%s%w (%s)", f.key, inner, *f.source)
	}
	from := ""
	if *f.source != "" {
		from = " (" + *f.source + ")"
	}
	text := show(value)
	if f.secret() {
		text = "the value"
	}
	return fmt.Errorf("%s: %s%s %w", f.key, text, from, why)
}

// Wrong is the error of a Validator: key, its value, and what would be right, as in "is not one of a, b".
func Wrong(key string, value any, format string, args ...any) error {
	return fmt.Errorf("%s: %s %s", key, show(value), fmt.Sprintf(format, args...))
}

// show prints a value as it may stand in a file.
func show(value any) string {
	switch v := value.(type) {
	case nil:
		return "nothing"
	case string:
		return strconv.Quote(v)
	case map[string]any, []any:
		return "the value"
	}
	return fmt.Sprint(value)
}

func assign(to reflect.Value, value any, textual bool) error {
	if value == nil {
		return errors.New("is set; give a value, or leave the key out to keep the default")
	}
	switch {
	case to.Type() == durationType:
		return assignDuration(to, value)
	case to.Type() == bytesType:
		return assignBytes(to, value)
	case to.Kind() == reflect.Slice:
		return assignList(to, value, textual)
	case to.Kind() == reflect.String:
		text, ok := value.(string)
		if !ok {
			return fmt.Errorf("is not text; write it in quotes: %q", fmt.Sprint(value))
		}
		to.SetString(text)
		return nil
	}
	return assignNumber(to, value)
}

func assignDuration(to reflect.Value, value any) error {
	text, ok := value.(string)
	if !ok {
		return fmt.Errorf("is a time without a unit; write one of ms, s, m, h behind it, such as %vs", value)
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return errors.New("is not a time; write a number and a unit (ms, s, m, h), such as 20s or 1m30s")
	}
	to.SetInt(int64(d))
	return nil
}

func assignBytes(to reflect.Value, value any) error {
	b, err := ParseBytes(fmt.Sprint(value))
	if err != nil {
		return err
	}
	to.SetInt(int64(b))
	return nil
}

func assignNumber(to reflect.Value, value any) error {
	text := fmt.Sprint(value)
	switch to.Kind() {
	case reflect.Bool:
		switch text {
		case "true", "false":
			to.SetBool(text == "true")
			return nil
		}
		return errors.New("is neither true nor false")
	case reflect.Float64:
		n, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return errors.New("is not a number")
		}
		to.SetFloat(n)
	default:
		n, err := strconv.ParseInt(text, 10, to.Type().Bits())
		if err != nil {
			return errors.New("is not a whole number")
		}
		to.SetInt(n)
	}
	return nil
}

// assignList fills a slice: from a YAML list, from text with commas, or, for structs, from text that is a YAML list.
func assignList(to reflect.Value, value any, textual bool) error {
	structs := to.Type().Elem().Kind() == reflect.Struct
	if text, ok := value.(string); ok && textual {
		list, err := splitList(text, structs)
		if err != nil {
			return err
		}
		value = list
	}
	list, ok := value.([]any)
	if !ok {
		return errors.New("is not a list; write [a, b], or one element a line behind a dash")
	}
	out := reflect.MakeSlice(to.Type(), len(list), len(list))
	for i, element := range list {
		var err error
		if structs {
			err = assignStruct(out.Index(i), element)
		} else {
			err = assign(out.Index(i), element, textual)
		}
		if err != nil {
			return within(fmt.Sprintf("[%d]", i), element, err)
		}
	}
	to.Set(out)
	return nil
}

func splitList(text string, structs bool) ([]any, error) {
	var list []any
	if !structs {
		for part := range strings.SplitSeq(text, ",") {
			if part = strings.TrimSpace(part); part != "" {
				list = append(list, part)
			}
		}
		return list, nil
	}
	parsed, err := yaml.Parser().Unmarshal([]byte("list: " + text))
	list, ok := parsed["list"].([]any)
	if err != nil || !ok {
		return nil, errors.New("is not a list; write it as in YAML: [{name: value, …}, …]")
	}
	return list, nil
}

// assignStruct fills one struct of a list, as strictly as Load.
func assignStruct(to reflect.Value, element any) error {
	values, ok := element.(map[string]any)
	if !ok {
		return errors.New("is not a set of keys; write {name: value, …}")
	}
	fields, err := leaves(to, "")
	if err != nil {
		return err
	}
	flat, _ := maps.Flatten(values, nil, ".")
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.key
	}
	for key, value := range flat {
		i := slices.Index(names, key)
		if i < 0 {
			return &elementError{"." + key, fmt.Errorf(": there is no such key; the nearest is %s", nearest(key, names))}
		}
		if err := assign(fields[i].value, value, false); err != nil && fields[i].secret() {
			return &elementError{"." + key, fmt.Errorf(": the value %w", err)}
		} else if err != nil {
			return within("."+key, value, err)
		}
	}
	for _, f := range fields {
		if err := f.bounds(); err != nil {
			return within("."+f.key, f.value.Interface(), err)
		}
	}
	return nil
}

// elementError is an error somewhere in a list: the rest of the key, and what is wrong there.
type elementError struct {
	rest string
	why  error
}

func (e *elementError) Error() string { return e.rest + e.why.Error() }
func (e *elementError) Unwrap() error { return e.why }

func within(rest string, value any, err error) error {
	var inner *elementError
	if errors.As(err, &inner) {
		return &elementError{rest + inner.rest, inner.why}
	}
	return &elementError{rest, fmt.Errorf(": %s %w", show(value), err)}
}
