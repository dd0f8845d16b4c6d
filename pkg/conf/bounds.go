package conf

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// check holds every field against its bounds, whatever layer it comes from.
func check(fields []field) []error {
	var wrong []error
	for _, f := range fields {
		if err := f.bounds(); err != nil {
			wrong = append(wrong, f.wrong(f.value.Interface(), err))
		}
	}
	return wrong
}

// bounds compares the field with its oneof, min and max tags. A bound is written as the values are.
func (f field) bounds() error {
	if accepted := strings.Fields(f.tag.Get("oneof")); len(accepted) > 0 && !slices.Contains(accepted, f.value.String()) {
		return fmt.Errorf("is not one of %s; the nearest is %s", strings.Join(accepted, ", "), nearest(f.value.String(), accepted))
	}
	for _, side := range []struct {
		tag, word string
		outside   func(value, bound float64) bool
	}{
		{"min", "least", func(value, bound float64) bool { return value < bound }},
		{"max", "most", func(value, bound float64) bool { return value > bound }},
	} {
		text, ok := f.tag.Lookup(side.tag)
		if !ok {
			continue
		}
		bound := reflect.New(f.value.Type()).Elem()
		if err := assign(bound, text, true); err != nil || number(bound) == nil {
			return fmt.Errorf("has the %s %q, which does not fit its type", side.tag, text)
		}
		if side.outside(*number(f.value), *number(bound)) {
			return fmt.Errorf("is out of range; give at %s %s", side.word, text)
		}
	}
	return nil
}

// number is the value of a numeric field, nil for others.
func number(v reflect.Value) *float64 {
	var n float64
	switch {
	case v.CanInt():
		n = float64(v.Int())
	case v.CanFloat():
		n = v.Float()
	default:
		return nil
	}
	return &n
}
