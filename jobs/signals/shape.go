package signals

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
)

// fieldKind is the type of value that a field of the shape holds.
type fieldKind uint8

const (
	kindObject fieldKind = iota
	kindText
	kindNumber
	kindBoolean
	kindTimestamp
)

// shape describes one JSON object by the struct tags of its Go type. It never
// changes once it is built.
type shape struct {
	fields   []field // in the order of the struct
	byName   map[string]*field
	required uint64 // one bit for each of fields
	depth    int    // number of nested objects, including this one
}

// field describes one member of an object.
type field struct {
	index       int // in the struct, and in shape.fields
	name        string
	pointer     jsontext.Pointer // from the payload's root
	kind        fieldKind
	required    bool
	enum        []string
	minLength   int // characters
	maxLength   int // characters; 0 means no bound
	traceparent bool
	limits      interval // for a number
	object      *shape   // for an object
}

// interval holds the bounds of a range tag: "[0,100]", "(0,)", "(-Inf,)". A
// round bracket on the left excludes the bound. There is no upper bound if the
// right one is missing.
type interval struct {
	low, high float64
	open      bool // low itself is outside
	bounded   bool // there is an upper bound, high
}

// documentShape returns the shape of Document, built on first use.
var documentShape = sync.OnceValue(func() *shape { return shapeOf(reflect.TypeFor[Document](), "") })

// shapeOf reads the tags of a struct, whose place in the payload is the
// pointer, and of the structs in it. It panics on tags that it cannot read,
// which are a mistake in this package that every test would find.
func shapeOf(t reflect.Type, at jsontext.Pointer) *shape {
	s := &shape{fields: make([]field, t.NumField()), byName: make(map[string]*field, t.NumField()), depth: 1}
	if t.NumField() > 64 {
		panic("signals: " + t.Name() + " has more fields than Decode keeps track of")
	}
	for i := range s.fields {
		s.fields[i] = fieldOf(t.Field(i), at)
		f := &s.fields[i]
		f.index = i
		s.byName[f.name] = f
		if f.required {
			s.required |= 1 << i
		}
		if f.kind == kindObject {
			s.depth = max(s.depth, 1+f.object.depth)
		}
	}
	return s
}

func fieldOf(sf reflect.StructField, parent jsontext.Pointer) field {
	name, options, _ := strings.Cut(sf.Tag.Get("json"), ",")
	f := field{
		name:        name,
		pointer:     parent.AppendToken(name),
		required:    options != "omitzero",
		traceparent: sf.Tag.Get("format") == "traceparent",
		minLength:   intTag(sf, "minLength"),
		maxLength:   intTag(sf, "maxLength"),
	}
	if enum := sf.Tag.Get("enum"); enum != "" {
		f.enum = strings.Split(enum, ",")
	}
	switch {
	case sf.Type == reflect.TypeFor[Number]():
		f.kind, f.limits = kindNumber, intervalOf(sf.Tag.Get("range"))
	case sf.Type == reflect.TypeFor[Bool]():
		f.kind = kindBoolean
	case sf.Type == reflect.TypeFor[Time]():
		f.kind = kindTimestamp
	case sf.Type.Kind() == reflect.String:
		f.kind = kindText
	case sf.Type.Kind() == reflect.Struct:
		f.kind, f.object = kindObject, shapeOf(sf.Type, f.pointer)
	default:
		panic(fmt.Sprintf("signals: field %s has type %v", sf.Name, sf.Type))
	}
	return f
}

func intTag(sf reflect.StructField, tag string) int {
	value := sf.Tag.Get(tag)
	if value == "" {
		return 0
	}
	n, err := strconv.Atoi(value)
	if err != nil {
		panic(fmt.Sprintf("signals: tag %s of field %s: %v", tag, sf.Name, err))
	}
	return n
}

func intervalOf(tag string) interval {
	low, high, found := strings.Cut(strings.Trim(tag, "[]()"), ",")
	in := interval{open: strings.HasPrefix(tag, "("), bounded: high != ""}
	var err error
	if in.low, err = strconv.ParseFloat(low, 64); err != nil || !found {
		panic(fmt.Sprintf("signals: range tag %q", tag))
	}
	if in.bounded {
		if in.high, err = strconv.ParseFloat(high, 64); err != nil {
			panic(fmt.Sprintf("signals: range tag %q", tag))
		}
	}
	return in
}

// contains reports whether x lies in the interval.
func (in interval) contains(x float64) bool {
	return (x > in.low || x == in.low && !in.open) && (!in.bounded || x <= in.high)
}

// String returns the text of faults: "≥ 0", "> 0", "between 0 and 100".
func (in interval) String() string {
	low := strconv.FormatFloat(in.low, 'g', -1, 64)
	switch {
	case in.bounded:
		return "between " + low + " and " + strconv.FormatFloat(in.high, 'g', -1, 64)
	case in.open:
		return "> " + low
	default:
		return "≥ " + low
	}
}
