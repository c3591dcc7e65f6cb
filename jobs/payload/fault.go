// Package payload owns the rules for every MassRequest payload that do not
// depend on its meaning: it is one JSON object that Postgres can store (Check),
// it claims to have one of two shapes (Inspect), and the free shape has a
// normal form (NormalizeFreeForm). The package also owns Fault, the description
// of one thing that is wrong with a payload, and AppendStruct, the encoder of
// JSON.
//
// It is pure: it turns bytes into values. It must not know HTTP, SQL, queues,
// or the fields and rules of the signals shape (package signals). Package
// pipeline passes the names whose free-form strings are read as numbers or
// booleans.
package payload

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// Bounds on the text that faults repeat from a payload, which may be hostile.
// Lengths are in bytes.
const (
	maxFaults     = 100  // faults kept for one payload; further ones are dropped
	maxToken      = 100  // one reference token of a pointer
	maxPointer    = 400  // a whole pointer
	maxDetail     = 400  // a detail
	maxErrorText  = 1000 // Faults.Error, without the trailing count
	maxQuotedText = 60   // text repeated by Quote
)

// Fault is one thing that is wrong with a payload.
type Fault struct {
	// Pointer is an RFC 6901 JSON pointer from the payload's root; "" is the
	// whole payload. Long names are cut and end in "…". U+0000, which Postgres
	// cannot store, is shown as U+FFFD.
	Pointer string `json:"pointer" doc:"RFC 6901 JSON pointer from the payload's root; empty for the whole payload" example:"/request/signals/energy/it_load_kw"`
	// Detail continues a sentence that starts with the field: "must be ≥ 0, got
	// -3".
	Detail string `json:"detail" doc:"What is wrong with the value there" example:"must be > 0, got -3"`
}

// Faults lists everything that was found wrong with one payload, in the order
// of discovery. Its number and length are bounded.
//
// Empty Faults mean that nothing is wrong, but they are a non-nil error. To
// return Faults as an error, return Faults.Err().
type Faults []Fault

// Add appends a fault at pointer, which must already be escaped, as
// jsontext.Pointer.AppendToken does. After 100 faults it does nothing.
func (f *Faults) Add(pointer jsontext.Pointer, format string, args ...any) {
	if !f.Full() {
		*f = append(*f, Fault{
			Pointer: boundPointer(string(pointer)),
			Detail:  clip(fmt.Sprintf(format, args...), maxDetail),
		})
	}
}

// AddSyntax appends a fault that describes the error of a jsontext.Decoder.
func (f *Faults) AddSyntax(err error) {
	var syntax *jsontext.SyntacticError
	switch {
	case !errors.As(err, &syntax):
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		f.Add("", "is not valid JSON: %v", err)
	case errors.Is(syntax.Err, jsontext.ErrDuplicateName):
		f.Add(syntax.JSONPointer, "is a name given twice in the same object (byte %d)", syntax.ByteOffset)
	default:
		f.Add(syntax.JSONPointer, "is not valid JSON at byte %d: %v", syntax.ByteOffset, syntax.Err)
	}
}

// Full reports whether further faults would be dropped, so that callers can
// stop their search.
func (f *Faults) Full() bool { return len(*f) >= maxFaults }

// Err returns f as an error, or nil if f is empty.
func (f Faults) Err() error {
	if len(f) == 0 {
		return nil
	}
	return f
}

// Error returns one line of bounded length: "2 faults: /a: must be …; /b: …".
func (f Faults) Error() string {
	var b strings.Builder
	switch len(f) {
	case 0:
		return "no faults"
	case 1:
		b.WriteString("1 fault: ")
	default:
		fmt.Fprintf(&b, "%d faults: ", len(f))
	}
	for i, fault := range f {
		if b.Len() > maxErrorText {
			fmt.Fprintf(&b, "; and %d more", len(f)-i)
			break
		}
		if i > 0 {
			b.WriteString("; ")
		}
		where := fault.Pointer
		if where == "" {
			where = "payload"
		}
		b.WriteString(oneLine(where) + ": " + oneLine(fault.Detail))
	}
	return b.String()
}

// Quote returns text in a form that a fault's detail may repeat: quoted,
// printable and short.
func Quote(text string) string { return fmt.Sprintf("%q", clip(text, maxQuotedText)) }

// oneLine replaces characters that could break a log line or a terminal.
func oneLine(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return utf8.RuneError
		}
		return r
	}, text)
}

// boundPointer shortens the names in an escaped pointer, and the pointer
// itself, to the length that a fault may repeat.
func boundPointer(pointer string) string {
	pointer = strings.ReplaceAll(pointer, "\x00", string(utf8.RuneError))
	if len(pointer) <= maxToken {
		return pointer
	}
	tokens := strings.Split(clip(pointer, maxPointer), "/")
	for i, token := range tokens {
		tokens[i] = clip(token, maxToken)
	}
	return strings.Join(tokens, "/")
}

// clip shortens text to at most limit bytes and an "…". It cuts between two
// characters, and never inside a "~0" or "~1".
func clip(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	for limit > 0 && !utf8.RuneStart(text[limit]) {
		limit--
	}
	return strings.TrimSuffix(text[:limit], "~") + "…"
}
