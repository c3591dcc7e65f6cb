package payload

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
)

// Literal marks a string type whose values are JSON already, such as a number
// kept as its sender wrote it. AppendStruct writes such a value without quotes,
// and an empty one as null.
type Literal interface{ JSONLiteral() }

// AppendStruct appends the struct at v as JSON, exactly as
// go-json-experiment/json writes it but several times as fast, because it reads
// the fields and json tags of a type only once.
//
// A struct may hold strings, Literals, booleans, integers, float64s, other
// structs, raw JSON (json.RawMessage and jsontext.Value), pointers and slices
// of these, and any of these in an interface. Each field needs a json tag with
// a name; the one option is omitzero. AppendStruct panics on the first use of
// any other type.
//
// It returns an error if a float64 is not finite or raw JSON is invalid.
func AppendStruct[T any](dst []byte, v *T) ([]byte, error) {
	return encodingOf(reflect.TypeFor[T]()).append(dst, reflect.ValueOf(v).Elem())
}

// encodingKind is the way in which the values of a type are written.
type encodingKind uint8

const (
	encodeString encodingKind = iota
	encodeLiteral
	encodeBool
	encodeInt
	encodeFloat
	encodeRaw
	encodeStruct
	encodePointer
	encodeSlice
	encodeInterface
)

// encoding describes how values of one type are written. It never changes once
// it is built.
type encoding struct {
	kind    encodingKind
	members []memberEncoding // of a struct, in their order
	element *encoding        // of a pointer or a slice
}

// memberEncoding describes one field of a struct.
type memberEncoding struct {
	key      string // the name as JSON, and the colon
	omitZero bool
	value    *encoding
}

// encodings holds every *encoding by its reflect.Type.
var encodings sync.Map

func encodingOf(t reflect.Type) *encoding {
	if known, ok := encodings.Load(t); ok {
		return known.(*encoding) //nolint:forcetypeassert // the map holds nothing else
	}
	e := newEncoding(t)
	encodings.Store(t, e)
	return e
}

func newEncoding(t reflect.Type) *encoding {
	switch t {
	case reflect.TypeFor[json.RawMessage](), reflect.TypeFor[jsontext.Value]():
		return &encoding{kind: encodeRaw}
	}
	switch {
	case t.Kind() == reflect.String && t.Implements(reflect.TypeFor[Literal]()):
		return &encoding{kind: encodeLiteral}
	case reflect.PointerTo(t).Implements(reflect.TypeFor[json.Marshaler]()):
		panic(fmt.Sprintf("payload: %v has its own JSON, which AppendStruct does not know", t))
	}
	switch t.Kind() {
	case reflect.String:
		return &encoding{kind: encodeString}
	case reflect.Bool:
		return &encoding{kind: encodeBool}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return &encoding{kind: encodeInt}
	case reflect.Float64:
		return &encoding{kind: encodeFloat}
	case reflect.Struct:
		return newStructEncoding(t)
	case reflect.Pointer:
		return &encoding{kind: encodePointer, element: newEncoding(t.Elem())}
	case reflect.Slice:
		if t.Elem().Kind() != reflect.Uint8 { // bytes would be base64
			return &encoding{kind: encodeSlice, element: newEncoding(t.Elem())}
		}
	case reflect.Interface:
		return &encoding{kind: encodeInterface}
	}
	panic(fmt.Sprintf("payload: AppendStruct does not know the type %v", t))
}

func newStructEncoding(t reflect.Type) *encoding {
	e := &encoding{kind: encodeStruct, members: make([]memberEncoding, t.NumField())}
	for i := range e.members {
		field := t.Field(i)
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		if name == "" || name == "-" || options != "" && options != "omitzero" {
			panic(fmt.Sprintf("payload: AppendStruct does not know the json tag of %v.%s", t, field.Name))
		}
		e.members[i] = memberEncoding{
			key:      string(AppendString(nil, name)) + ":",
			omitZero: options == "omitzero",
			value:    newEncoding(field.Type),
		}
	}
	return e
}

func (e *encoding) append(dst []byte, v reflect.Value) (_ []byte, err error) {
	switch e.kind {
	case encodeString:
		return AppendString(dst, v.String()), nil
	case encodeLiteral:
		if v.Len() == 0 {
			return append(dst, "null"...), nil
		}
		return append(dst, v.String()...), nil
	case encodeBool:
		return strconv.AppendBool(dst, v.Bool()), nil
	case encodeInt:
		return strconv.AppendInt(dst, v.Int(), 10), nil
	case encodeFloat:
		return appendFloat(dst, v.Float())
	case encodeRaw:
		if v.IsNil() {
			return append(dst, "null"...), nil
		}
		return AppendCompact(dst, v.Bytes())
	case encodePointer:
		if v.IsNil() {
			return append(dst, "null"...), nil
		}
		return e.element.append(dst, v.Elem())
	case encodeSlice:
		dst = append(dst, '[')
		for i := range v.Len() {
			if i > 0 {
				dst = append(dst, ',')
			}
			if dst, err = e.element.append(dst, v.Index(i)); err != nil {
				return nil, err
			}
		}
		return append(dst, ']'), nil
	case encodeInterface:
		if v.IsNil() {
			return append(dst, "null"...), nil
		}
		return encodingOf(v.Elem().Type()).append(dst, v.Elem())
	default:
		return e.appendMembers(dst, v)
	}
}

func (e *encoding) appendMembers(dst []byte, v reflect.Value) (_ []byte, err error) {
	dst = append(dst, '{')
	start := len(dst)
	for i := range e.members {
		m, value := &e.members[i], v.Field(i)
		if m.omitZero && value.IsZero() {
			continue
		}
		if len(dst) > start {
			dst = append(dst, ',')
		}
		if dst, err = m.value.append(append(dst, m.key...), value); err != nil {
			return nil, err
		}
	}
	return append(dst, '}'), nil
}

// appendFloat appends a number in the format of ECMAScript, as RFC 8785,
// section 3.2.2.3, asks for.
func appendFloat(dst []byte, number float64) ([]byte, error) {
	if math.IsNaN(number) || math.IsInf(number, 0) {
		return nil, fmt.Errorf("encode the number %v: JSON cannot express it", number)
	}
	if abs := math.Abs(number); abs == 0 || abs >= 1e-6 && abs < 1e21 {
		return strconv.AppendFloat(dst, number, 'f', -1, 64), nil
	}
	dst = strconv.AppendFloat(dst, number, 'e', -1, 64)
	if n := len(dst); dst[n-3] == '-' && dst[n-2] == '0' { // 1e-09 is 1e-9
		dst = append(dst[:n-2], dst[n-1])
	}
	return dst, nil
}
