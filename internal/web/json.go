package web

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/leomutto/pilot-in-a-box/jobs/payload"
)

// Encode writes a value as JSON; all answers are written by it. It leaves the
// numbers of raw JSON as they are and escapes only what JSON requires.
func Encode(w io.Writer, v any) error {
	fast, ok := v.(Appender)
	if !ok {
		return json.MarshalWrite(w, v)
	}
	buf := encodings.Get().(*[]byte) //nolint:forcetypeassert // the pool holds nothing else
	defer encodings.Put(buf)
	out, err := fast.AppendJSON((*buf)[:0])
	if err != nil {
		return err
	}
	if cap(out) <= keptEncoding {
		*buf = out
	}
	_, err = w.Write(out)
	return err
}

// Appender is a type that writes its own JSON, which must be what
// json.MarshalWrite makes of it.
type Appender interface {
	AppendJSON(dst []byte) ([]byte, error)
}

// keptEncoding is the size in bytes up to which a buffer is kept for the next
// answer.
const keptEncoding = 64 << 10

var encodings = sync.Pool{New: func() any { return new(make([]byte, 0, 4<<10)) }}

// DecodeBody decodes a body of these members. The error is a *Problem: 400 when
// the text is not JSON, else 422 with every fault.
func DecodeBody(body []byte, members ...Member) error {
	var faults payload.Faults
	if err := Decode(body, &faults, members...); err != nil {
		return err
	}
	if len(faults) > 0 {
		return InvalidBody(faults)
	}
	return nil
}

// Decode is DecodeBody for callers that have more to check: it collects the
// faults, and its error is a 400. The body must be one JSON object of these
// members and no others. The values that members get are parts of body and
// valid JSON, but for names given twice and bad UTF-8 within them.
func Decode(body []byte, faults *payload.Faults, members ...Member) error {
	dec := tolerantDecoder(body)
	defer payload.Release(dec)
	if kind := dec.PeekKind(); kind != jsontext.KindBeginObject {
		if err := dec.SkipValue(); err != nil {
			return malformed(err, "object")
		}
		faults.Add("", "must be an object, got %s", payload.KindName(kind))
		return endOfBody(dec)
	}
	if _, err := dec.ReadToken(); err != nil {
		return malformed(err, "object")
	}
	var seen uint64 // a bit for each of members
	for dec.PeekKind() != jsontext.KindEndObject {
		token, err := dec.ReadToken()
		if err != nil {
			return malformed(err, "object")
		}
		name := token.String()
		value, err := dec.ReadValue()
		if err != nil {
			return malformed(err, "object")
		}
		i := slices.IndexFunc(members, func(m Member) bool { return m.Name == name })
		switch pointer := jsontext.Pointer("").AppendToken(strings.ToValidUTF8(name, string(utf8.RuneError))); {
		case i < 0:
			faults.Add(pointer, "is not a field of this object")
		case seen&(1<<i) != 0:
			faults.Add(pointer, "is a name given twice in the same object")
		default:
			seen |= 1 << i
			if value.Kind() != jsontext.KindNull || members[i].Required || members[i].Clears {
				members[i].Set(partOf(body, dec, value), faults)
			}
		}
	}
	if _, err := dec.ReadToken(); err != nil {
		return malformed(err, "object")
	}
	for i, m := range members {
		if m.Required && seen&(1<<i) == 0 {
			faults.Add(m.pointer(), "is required")
		}
	}
	return endOfBody(dec)
}

// DecodeArray checks the syntax of a whole JSON array and then hands its
// elements to add, as parts of body. items names the elements in messages. It
// ends with the first error of add.
func DecodeArray(body []byte, items string, add func(element []byte) error) error {
	form := "array of " + items
	dec := tolerantDecoder(body)
	defer payload.Release(dec)
	if kind := dec.PeekKind(); kind != jsontext.KindBeginArray {
		if err := dec.SkipValue(); err != nil {
			return malformed(err, form)
		}
		if err := endOfBody(dec); err != nil {
			return err
		}
		return InvalidBody(payload.Faults{{Detail: "must be an " + form + ", got " + payload.KindName(kind)}})
	}
	if _, err := dec.ReadToken(); err != nil {
		return malformed(err, form)
	}
	for dec.PeekKind() != jsontext.KindEndArray {
		value, err := dec.ReadValue()
		if err != nil {
			return malformed(err, form)
		}
		if err := add(partOf(body, dec, value)); err != nil {
			return err
		}
	}
	if _, err := dec.ReadToken(); err != nil {
		return malformed(err, form)
	}
	return endOfBody(dec)
}

// tolerantDecoder is a decoder that leaves names given twice and bad UTF-8 to
// its caller. It must be released.
func tolerantDecoder(body []byte) *jsontext.Decoder {
	return payload.Decoder(body, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
}

// partOf returns the value that dec read last as a part of body: the value that
// the decoder returned is valid only until its next call.
func partOf(body []byte, dec *jsontext.Decoder, value jsontext.Value) jsontext.Value {
	end := int(dec.InputOffset())
	return body[end-len(value) : end : end]
}

func endOfBody(dec *jsontext.Decoder) error {
	if _, err := dec.ReadToken(); !errors.Is(err, io.EOF) {
		return &Problem{
			Status: http.StatusBadRequest, Code: CodeInvalidJSON, Detail: "The body must be one JSON value, but more follows it.",
		}
	}
	return nil
}

// malformed is the problem of an error of the decoder; form says what the body
// should have been.
func malformed(err error, form string) *Problem {
	p := &Problem{Status: http.StatusBadRequest, Code: CodeInvalidJSON, Detail: "The body is not valid JSON."}
	if errors.Is(err, io.EOF) {
		p.Detail = "The body is empty; it must be a JSON " + form + "."
		return p
	}
	var faults payload.Faults
	faults.AddSyntax(err)
	p.Errors = InvalidBody(faults).Errors
	return p
}

// EmptyBody is the problem of an empty body that should have been an object.
func EmptyBody() *Problem { return malformed(io.EOF, "object") }
