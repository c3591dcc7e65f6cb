package payload

import (
	"bytes"
	"errors"
	"io"

	"github.com/go-json-experiment/json/jsontext"
)

// Defaults of Limits.
const (
	DefaultMaxDepth    = 32
	DefaultMaxExpanded = 4 << 20
)

// Limits bounds what Check accepts. The zero value means the defaults.
type Limits struct {
	// MaxDepth is the number of objects and arrays that may be nested,
	// including the payload itself.
	MaxDepth int
	// MaxExpanded is the number of digits that all numbers together may have
	// when they are written out without exponents.
	MaxExpanded int
}

func (l Limits) withDefaults() Limits {
	if l.MaxDepth <= 0 {
		l.MaxDepth = DefaultMaxDepth
	}
	if l.MaxExpanded <= 0 {
		l.MaxExpanded = DefaultMaxExpanded
	}
	return l
}

// Admit reports whether the limits accept every payload of at most the given
// depth whose numbers, written out, have at most the given digits in total.
func (l Limits) Admit(depth, digits int) bool {
	l = l.withDefaults()
	return depth <= l.MaxDepth && digits <= l.MaxExpanded
}

// Check scans raw once and returns the reasons for which it must be refused. A
// payload passes if it is one JSON object (RFC 8259) as strict as I-JSON (RFC
// 7493: UTF-8, no lone surrogates, no duplicate names) that Postgres can store
// and read as jsonb without an error and without much growth: no U+0000, no
// number beyond the limits, bounded depth.
//
// A syntax error or too deep nesting ends the scan. All other faults are
// collected.
func Check(raw []byte, lim Limits) Faults {
	c := checker{
		lim: lim.withDefaults(),
		dec: Decoder(raw),
	}
	defer Release(c.dec)
	c.scan()
	return c.faults
}

type checker struct {
	lim      Limits
	dec      *jsontext.Decoder
	expanded int // digits of all numbers so far
	faults   Faults
}

func (c *checker) scan() {
	if !beginObject(c.dec, &c.faults) {
		return
	}
	for c.dec.StackDepth() > 0 && !c.faults.Full() {
		switch c.dec.PeekKind() {
		case jsontext.KindBeginObject, jsontext.KindBeginArray, jsontext.KindEndObject, jsontext.KindEndArray:
			if _, err := c.dec.ReadToken(); err != nil {
				c.faults.AddSyntax(err)
				return
			}
			if c.dec.StackDepth() > c.lim.MaxDepth {
				c.faults.Add(c.dec.StackPointer(), "is nested deeper than %d levels", c.lim.MaxDepth)
				return
			}
		default: // a name, a scalar, or an error
			value, err := c.dec.ReadValue()
			if err != nil {
				c.faults.AddSyntax(err)
				return
			}
			c.scalar(value)
		}
	}
	if !c.faults.Full() {
		endOfInput(c.dec, &c.faults)
	}
}

func (c *checker) scalar(value jsontext.Value) {
	switch value.Kind() {
	case jsontext.KindString:
		if hasNUL(value) {
			c.faults.Add(c.dec.StackPointer(), "contains U+0000, which cannot be stored")
		}
	case jsontext.KindNumber:
		n := expandedDigits(value)
		if n > MaxNumberDigits {
			c.faults.Add(c.dec.StackPointer(), "is a number of more than %d digits when written out", MaxNumberDigits)
			return
		}
		before := c.expanded
		c.expanded += n
		if before <= c.lim.MaxExpanded && c.expanded > c.lim.MaxExpanded {
			c.faults.Add("", "has numbers of more than %d digits in total when written out", c.lim.MaxExpanded)
		}
	}
}

// hasNUL reports whether the raw JSON string, which includes its quotes,
// contains the escape \u0000. A raw NUL byte is a syntax error already.
func hasNUL(quoted []byte) bool {
	const escape = `\u0000`
	for {
		i := bytes.IndexByte(quoted, '\\')
		if i < 0 {
			return false
		}
		if bytes.HasPrefix(quoted[i:], []byte(escape)) {
			return true
		}
		quoted = quoted[i+2:] // skip an escaped backslash as a whole
	}
}

// beginObject reads the "{" with which a payload must start. Otherwise it adds
// a fault and returns false.
func beginObject(dec *jsontext.Decoder, faults *Faults) bool {
	token, err := dec.ReadToken()
	switch {
	case errors.Is(err, io.EOF):
		faults.Add("", "must be a JSON object, got nothing")
	case err != nil:
		faults.AddSyntax(err)
	case token.Kind() != jsontext.KindBeginObject:
		faults.Add("", "must be a JSON object, got %s", KindName(token.Kind()))
	default:
		return true
	}
	return false
}

// endOfInput adds a fault if anything but white space follows the payload.
func endOfInput(dec *jsontext.Decoder, faults *Faults) {
	end := dec.InputOffset()
	if _, err := dec.ReadToken(); !errors.Is(err, io.EOF) {
		faults.Add("", "must be a single JSON object, but more data follows after byte %d", end)
	}
}

// KindName returns the name that faults use for a kind of JSON value: "an
// object", "a string" …
func KindName(kind jsontext.Kind) string {
	switch kind {
	case jsontext.KindNull:
		return "null"
	case jsontext.KindTrue, jsontext.KindFalse:
		return "a boolean"
	case jsontext.KindString:
		return "a string"
	case jsontext.KindNumber:
		return "a number"
	case jsontext.KindBeginObject:
		return "an object"
	case jsontext.KindBeginArray:
		return "an array"
	default:
		return "invalid JSON"
	}
}
