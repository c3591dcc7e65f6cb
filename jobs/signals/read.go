package signals

import (
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxPlainNumber is the length of the longest number that read accepts. A
// number of that length without an exponent is within the range of a float64
// and within the limits of storage.
const maxPlainNumber = 32

// read reads a payload into an empty document, several times as fast as decode.
// It accepts only payloads that decode accepts. ok is false if the payload has
// faults, but also if it has escapes in strings, exponents in numbers, numbers
// of more than maxPlainNumber characters, or space around a number in a string.
// The document must not be used then. FuzzRead compares read with decode and
// payload.Check.
//
// exact reports that the document, written as JSON, equals the payload except
// for the order of members and white space.
func read(raw []byte, doc *Document) (exact, ok bool) {
	r := reader{src: string(raw)}
	ok = strings.IndexByte(r.src, '\\') < 0 && utf8.ValidString(r.src) &&
		r.object(documentShape(), reflect.ValueOf(doc).Elem()) && r.ended()
	return ok && !r.altered, ok
}

// reader reads JSON without escapes in strings. Its methods return false, or an
// empty result, if they do not find what they expect, which ends the reading.
type reader struct {
	src string // the payload; the strings of the document share its memory
	at  int    // number of bytes that were read

	altered bool // some value is written in another way than the payload has it: an absent value, or a number in a string
}

// space skips white space.
func (r *reader) space() {
	for r.at < len(r.src) {
		switch r.src[r.at] {
		case ' ', '\t', '\r', '\n':
			r.at++
		default:
			return
		}
	}
}

func (r *reader) ended() bool {
	r.space()
	return r.at == len(r.src)
}

// take skips white space and then c.
func (r *reader) take(c byte) bool {
	if r.at >= len(r.src) || r.src[r.at] != c {
		if r.space(); r.at >= len(r.src) || r.src[r.at] != c {
			return false
		}
	}
	r.at++
	return true
}

// quoted reads a string and returns its content.
func (r *reader) quoted() (content string, ok bool) {
	if !r.take('"') {
		return "", false
	}
	length := strings.IndexByte(r.src[r.at:], '"')
	if length < 0 {
		return "", false
	}
	content = r.src[r.at : r.at+length]
	r.at += length + 1
	return content, true
}

func (r *reader) object(s *shape, v reflect.Value) bool {
	if !r.take('{') {
		return false
	}
	var seen uint64 // one bit for each of s.fields
	for more := !r.take('}'); more; more = r.take(',') {
		name, ok := r.quoted()
		f := s.byName[name]
		if !ok || f == nil || seen&(1<<f.index) != 0 || !r.take(':') || !r.value(f, v.Field(f.index)) {
			return false
		}
		seen |= 1 << f.index
	}
	r.altered = r.altered || seen == 0
	return s.required&^seen == 0 && (seen == 0 || r.take('}'))
}

func (r *reader) value(f *field, v reflect.Value) bool {
	if r.space(); r.at == len(r.src) {
		return false
	}
	switch r.src[r.at] {
	case '{':
		return f.kind == kindObject && r.object(f.object, v)
	case '"':
		content, ok := r.quoted()
		if !ok || !f.takes(content) {
			return false
		}
		v.SetString(content)
		r.altered = r.altered || f.kind == kindNumber || f.kind == kindBoolean || content == ""
		return true
	}
	rest, length := r.src[r.at:], 0
	switch {
	case !f.required && strings.HasPrefix(rest, "null"):
		r.at += len("null")
		r.altered = true
		return true
	case f.kind == kindNumber:
		length = plainNumber(rest)
	case f.kind == kindBoolean && strings.HasPrefix(rest, "true"):
		length = len("true")
	case f.kind == kindBoolean && strings.HasPrefix(rest, "false"):
		length = len("false")
	}
	if length == 0 {
		return false
	}
	r.at += length
	v.SetString(rest[:length])
	return true
}

// takes reports whether the field accepts the content of a string as it is.
func (f *field) takes(content string) bool {
	switch f.kind {
	case kindObject:
		return false
	case kindNumber:
		return content != "" && plainNumber(content) == len(content)
	case kindBoolean:
		return content == "true" || content == "false"
	case kindTimestamp:
		_, _, ok := parseTime(content)
		return ok
	}
	for i := range len(content) {
		if content[i] < ' ' {
			return false
		}
	}
	return (f.enum == nil || slices.Contains(f.enum, content)) &&
		(!f.traceparent || isTraceparent(content)) &&
		(f.minLength == 0 || utf8.RuneCountInString(content) >= f.minLength) &&
		(f.maxLength == 0 || len(content) <= f.maxLength || utf8.RuneCountInString(content) <= f.maxLength)
}

// plainNumber returns the length of the number at the start of text, or 0 if
// there is none or it is longer than maxPlainNumber.
func plainNumber(text string) int {
	i := 0
	digits := func() (found bool) {
		for ; i < len(text) && '0' <= text[i] && text[i] <= '9'; i++ {
			found = true
		}
		return found
	}
	if strings.HasPrefix(text, "-") {
		i++
	}
	if i < len(text) && text[i] == '0' {
		i++ // no digit may follow
	} else if !digits() {
		return 0
	}
	if i < len(text) && text[i] == '.' {
		if i++; !digits() {
			return 0
		}
	}
	if i > maxPlainNumber {
		return 0
	}
	return i
}
