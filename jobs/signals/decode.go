package signals

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/leomutto/pilot-in-a-box/jobs/payload"
)

// Decode reads a signals payload and reports everything that is wrong with its
// shape: fields that are missing, unknown or of the wrong type, and values that
// violate an enum or a format. Names are case-sensitive; null counts as absent.
// A syntax error, which includes a duplicate name, ends the reading. The
// document is nil if there are faults.
func Decode(raw []byte) (*Document, payload.Faults) {
	doc := new(Document)
	if _, ok := read(raw, doc); ok {
		return doc, nil
	}
	return decode(raw)
}

// decode is Decode for every payload. read accepts only payloads without
// faults, and not all of those.
func decode(raw []byte) (*Document, payload.Faults) {
	d := decoder{src: string(raw), dec: jsontext.NewDecoder(bytes.NewBuffer(raw))}
	doc := new(Document)
	if d.run(reflect.ValueOf(doc).Elem()); len(d.faults) > 0 {
		return nil, d.faults
	}
	return doc, nil
}

type decoder struct {
	src    string // the payload; the strings of the document share its memory
	dec    *jsontext.Decoder
	faults payload.Faults
}

func (d *decoder) run(doc reflect.Value) {
	switch kind := d.dec.PeekKind(); kind {
	case jsontext.KindInvalid:
		_, err := d.dec.ReadToken()
		d.faults.AddSyntax(err)
	case jsontext.KindBeginObject:
		if err := d.object(documentShape(), doc); err != nil {
			d.faults.AddSyntax(err)
		} else if _, err := d.dec.ReadToken(); !errors.Is(err, io.EOF) {
			d.faults.Add("", "must be a single JSON object, but more data follows")
		}
	default:
		d.faults.Add("", "must be an object, got %s", payload.KindName(kind))
	}
}

// object reads the next value, an object, into v. Its error is a syntax error;
// everything else becomes a fault.
func (d *decoder) object(s *shape, v reflect.Value) error {
	if _, err := d.dec.ReadToken(); err != nil {
		return err
	}
	var seen uint64 // one bit for each of s.fields
	for d.dec.PeekKind() != jsontext.KindEndObject {
		name, err := d.content()
		if err != nil {
			return err
		}
		f := s.byName[name]
		if f == nil {
			d.fault("is not a field of schema_version %s", Version)
			if err := d.dec.SkipValue(); err != nil {
				return err
			}
			continue
		}
		seen |= 1 << f.index
		if err := d.value(f, v.Field(f.index)); err != nil {
			return err
		}
	}
	if _, err := d.dec.ReadToken(); err != nil {
		return err
	}
	for i := range s.fields {
		if s.required&^seen&(1<<i) != 0 {
			d.faults.Add(s.fields[i].pointer, "is required")
		}
	}
	return nil
}

// value reads the next value into v, which f describes.
func (d *decoder) value(f *field, v reflect.Value) error {
	got := d.dec.PeekKind()
	switch {
	case got == jsontext.KindNull && !f.required:
		return d.dec.SkipValue()
	case got == jsontext.KindBeginObject && f.kind == kindObject:
		return d.object(f.object, v)
	case got == jsontext.KindString && f.kind != kindObject:
		text, err := d.content()
		if err != nil {
			return err
		}
		d.scalar(f, text, v)
		return nil
	case got == jsontext.KindNumber && f.kind == kindNumber,
		(got == jsontext.KindTrue || got == jsontext.KindFalse) && f.kind == kindBoolean:
		literal, err := d.literal()
		if err != nil {
			return err
		}
		d.scalar(f, literal, v)
		return nil
	}
	if err := d.dec.SkipValue(); err != nil {
		return err
	}
	d.fault("must be %s, got %s", f.kind, payload.KindName(got))
	return nil
}

// scalar stores content, which is that of a JSON string or another literal, in
// v if it suits f.
func (d *decoder) scalar(f *field, content string, v reflect.Value) {
	var ok bool
	switch f.kind {
	case kindNumber:
		var n Number
		if n, ok = parseNumber(content); ok {
			content = string(n)
		}
	case kindBoolean:
		var b Bool
		if b, ok = parseBool(content); ok {
			content = string(b)
		}
	case kindTimestamp:
		_, _, ok = parseTime(content)
	default:
		d.text(f, content, v)
		return
	}
	if !ok {
		d.fault("must be %s, got %s", f.kind, payload.Quote(content))
		return
	}
	v.SetString(content)
}

func (d *decoder) text(f *field, content string, v reflect.Value) {
	switch length := utf8.RuneCountInString(content); {
	case f.enum != nil && !slices.Contains(f.enum, content):
		d.fault("must be %s, got %s", quotedList(f.enum), payload.Quote(content))
	case f.traceparent && !isTraceparent(content):
		d.fault("must be a W3C traceparent of version 00 (00-<32 hex>-<16 hex>-<2 hex>, lower case, no id all zeros), got %s",
			payload.Quote(content))
	case length < f.minLength:
		d.fault("must not be empty")
	case f.maxLength > 0 && length > f.maxLength:
		d.fault("must have at most %d characters, got %d", f.maxLength, length)
	default:
		v.SetString(content)
	}
}

// fault adds a fault at the value or name that was read last.
func (d *decoder) fault(format string, args ...any) {
	if !d.faults.Full() {
		d.faults.Add(d.dec.StackPointer(), format, args...)
	}
}

// literal reads a name or scalar and returns its JSON text.
func (d *decoder) literal() (string, error) {
	value, err := d.dec.ReadValue()
	if err != nil {
		return "", err
	}
	end := int(d.dec.InputOffset())
	return d.src[end-len(value) : end], nil
}

// content reads a name or string and returns its content.
func (d *decoder) content() (string, error) {
	quoted, err := d.literal()
	if err != nil {
		return "", err
	}
	if strings.IndexByte(quoted, '\\') < 0 {
		return quoted[1 : len(quoted)-1], nil
	}
	content, err := jsontext.AppendUnquote(nil, quoted)
	return string(content), err
}

// String returns what faults say that a field must be.
func (k fieldKind) String() string {
	switch k {
	case kindObject:
		return "an object"
	case kindText:
		return "a string"
	case kindNumber:
		return "a number, or a string that is exactly a number, within the range of a 64-bit float"
	case kindBoolean:
		return `a boolean, "true" or "false"`
	default:
		return "an RFC 3339 date-time such as 2026-03-01T10:00:00Z"
	}
}

// isTraceparent reports whether s is a traceparent of version 00 of W3C Trace
// Context, section 3.2.2.
func isTraceparent(s string) bool {
	return len(s) == 55 && s[:3] == "00-" && isID(s[3:35]) && s[35] == '-' && isID(s[36:52]) && s[52] == '-' && isHex(s[53:])
}

// isID reports whether s is hexadecimal and not all zeros.
func isID(s string) bool { return isHex(s) && strings.Trim(s, "0") != "" }

func isHex(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// quotedList returns `"a"`, or `one of "a", "b"`.
func quotedList(values []string) string {
	quoted := fmt.Sprintf("%q", values) // ["a" "b"]
	quoted = strings.ReplaceAll(strings.Trim(quoted, "[]"), `" "`, `", "`)
	if len(values) == 1 {
		return quoted
	}
	return "one of " + quoted
}
