package biocore

import (
	"math"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/leomutto/pilot-in-a-box/jobs/payload"
	"github.com/leomutto/pilot-in-a-box/jobs/signals"
)

const (
	// maxDepth bounds the nesting of an answer. The shape needs six levels.
	maxDepth = 16

	defaultMaxLength = 200 // characters of a string
	defaultMaxItems  = 100 // elements of an array
)

// Decode reads an answer and reports everything that is wrong with its shape:
// members that are missing, unknown, given twice or of the wrong type, values
// outside their bounds, and bytes that are not one JSON object. It does not
// convert: a number in quotation marks is a string. The answer is nil if there
// are faults.
func Decode(raw []byte) (*Answer, payload.Faults) {
	if faults := payload.Check(raw, payload.Limits{MaxDepth: maxDepth}); len(faults) > 0 {
		return nil, faults
	}
	d := decoder{dec: payload.Decoder(raw)}
	defer payload.Release(d.dec)
	answer := new(Answer)
	if err := d.object(reflect.ValueOf(answer).Elem(), ""); err != nil {
		d.faults.AddSyntax(err)
	}
	if len(d.faults) > 0 {
		return nil, d.faults
	}
	return answer, nil
}

// decoder reads an answer that payload.Check accepted. The errors of its
// methods are syntax errors; everything else becomes a fault.
type decoder struct {
	dec    *jsontext.Decoder
	faults payload.Faults
}

// object reads the next value, an object, into the struct v.
func (d *decoder) object(v reflect.Value, at jsontext.Pointer) error {
	if _, err := d.dec.ReadToken(); err != nil {
		return err
	}
	var seen []string
	for d.dec.PeekKind() != jsontext.KindEndObject {
		token, err := d.dec.ReadToken()
		if err != nil {
			return err
		}
		name := token.String()
		field, known := fieldByName(v.Type(), name)
		if !known {
			d.faults.Add(at.AppendToken(name), "is not a member of the contract")
			if err := d.dec.SkipValue(); err != nil {
				return err
			}
			continue
		}
		if optional(field) && d.dec.PeekKind() == jsontext.KindNull {
			if err := d.dec.SkipValue(); err != nil {
				return err
			}
			continue
		}
		seen = append(seen, name)
		if err := d.value(v.FieldByIndex(field.Index), field.Tag, at.AppendToken(name)); err != nil {
			return err
		}
	}
	if _, err := d.dec.ReadToken(); err != nil {
		return err
	}
	for field := range v.Type().Fields() {
		if name := memberName(field); !optional(field) && !slices.Contains(seen, name) {
			d.faults.Add(at.AppendToken(name), "is required")
		}
	}
	return nil
}

// value reads the next value into v. The tag is that of the member that holds
// the value, directly or as an element of an array.
func (d *decoder) value(v reflect.Value, tag reflect.StructTag, at jsontext.Pointer) error {
	want, got := kindOf(v.Type()), d.dec.PeekKind()
	if got == jsontext.KindFalse {
		got = jsontext.KindTrue // the kind of every boolean here
	}
	if got != want {
		d.faults.Add(at, "must be %s, got %s", payload.KindName(want), payload.KindName(got))
		return d.dec.SkipValue()
	}
	switch want {
	case jsontext.KindBeginObject:
		return d.object(v, at)
	case jsontext.KindBeginArray:
		return d.array(v, tag, at)
	}
	token, err := d.dec.ReadToken()
	if err != nil {
		return err
	}
	switch want {
	case jsontext.KindNumber:
		d.number(v, token, tag, at)
	case jsontext.KindString:
		d.text(v, token.String(), tag, at)
	default:
		v.SetBool(token.Bool())
	}
	return nil
}

func (d *decoder) array(v reflect.Value, tag reflect.StructTag, at jsontext.Pointer) error {
	if _, err := d.dec.ReadToken(); err != nil {
		return err
	}
	limit := intTag(tag, "maxItems", defaultMaxItems)
	list := reflect.MakeSlice(v.Type(), 0, 4)
	for i := 0; d.dec.PeekKind() != jsontext.KindEndArray; i++ {
		if i >= limit {
			if i == limit {
				d.faults.Add(at, "must have at most %d elements", limit)
			}
			if err := d.dec.SkipValue(); err != nil {
				return err
			}
			continue
		}
		element := reflect.New(v.Type().Elem()).Elem()
		if err := d.value(element, tag, at.AppendToken(strconv.Itoa(i))); err != nil {
			return err
		}
		list = reflect.Append(list, element)
	}
	_, err := d.dec.ReadToken()
	v.Set(list)
	return err
}

func (d *decoder) number(v reflect.Value, token jsontext.Token, tag reflect.StructTag, at jsontext.Pointer) {
	literal := token.String()
	x, err := strconv.ParseFloat(literal, 64) // the literal has the grammar of JSON
	lowest, hasLowest := floatTag(tag, "min")
	highest, hasHighest := floatTag(tag, "max")
	switch {
	case err != nil || math.IsInf(x, 0):
		d.faults.Add(at, "must be within the range of a 64-bit float, got %s", payload.Quote(literal))
	case hasLowest && x < lowest:
		d.faults.Add(at, "must be ≥ %v, got %v", lowest, x)
	case hasHighest && x > highest:
		d.faults.Add(at, "must be ≤ %v, got %v", highest, x)
	case tag.Get("whole") != "" && x != math.Trunc(x):
		d.faults.Add(at, "must be a whole number, got %v", x)
	case v.Kind() == reflect.Pointer:
		v.Set(reflect.ValueOf(&x))
	default:
		v.SetFloat(x)
	}
}

func (d *decoder) text(v reflect.Value, text string, tag reflect.StructTag, at jsontext.Pointer) {
	limit := intTag(tag, "maxLength", defaultMaxLength)
	enum, pattern := tag.Get("enum"), tag.Get("pattern")
	switch {
	case v.Type() == reflect.TypeFor[signals.Time]() && signals.Time(text).Instant().IsZero():
		d.faults.Add(at, "must be an RFC 3339 date-time such as 2026-03-01T10:00:00Z, got %s", payload.Quote(text))
	case enum != "" && text != enum:
		d.faults.Add(at, "must be %q, got %s", enum, payload.Quote(text))
	case pattern != "" && !regexp.MustCompile(pattern).MatchString(text):
		d.faults.Add(at, "must be %s, got %s", tag.Get("patternDescription"), payload.Quote(text))
	case strings.TrimSpace(text) == "" && !strings.Contains(tag.Get("json"), ",omitzero"):
		d.faults.Add(at, "must not be blank")
	case utf8.RuneCountInString(text) > limit:
		d.faults.Add(at, "must have at most %d characters, got %d", limit, utf8.RuneCountInString(text))
	default:
		v.SetString(text)
	}
}

// kindOf returns the kind of JSON value that a Go type of the shape holds. It
// panics on other types, which are a mistake in this package.
func kindOf(t reflect.Type) jsontext.Kind {
	switch t.Kind() {
	case reflect.Struct:
		return jsontext.KindBeginObject
	case reflect.Slice:
		return jsontext.KindBeginArray
	case reflect.String:
		return jsontext.KindString
	case reflect.Bool:
		return jsontext.KindTrue
	case reflect.Float64:
		return jsontext.KindNumber
	case reflect.Pointer:
		return kindOf(t.Elem())
	default:
		panic("biocore: an answer cannot hold a " + t.String())
	}
}

func fieldByName(t reflect.Type, name string) (reflect.StructField, bool) {
	for field := range t.Fields() {
		if memberName(field) == name {
			return field, true
		}
	}
	return reflect.StructField{}, false
}

func memberName(field reflect.StructField) string {
	name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
	return name
}

func optional(field reflect.StructField) bool {
	return strings.Contains(field.Tag.Get("json"), ",omitzero")
}

func intTag(tag reflect.StructTag, name string, otherwise int) int {
	if n, err := strconv.Atoi(tag.Get(name)); err == nil {
		return n
	}
	return otherwise
}

func floatTag(tag reflect.StructTag, name string) (x float64, ok bool) {
	x, err := strconv.ParseFloat(tag.Get(name), 64)
	return x, err == nil
}
