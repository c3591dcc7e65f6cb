package payload

import (
	"bytes"
	"encoding/json"

	"github.com/go-json-experiment/json/jsontext"
)

// NormalizeFreeForm returns the normal form of a free-form payload: keys by SnakeCase, strings by CleanText, numbers
// as they were written, members in their order, no white space. Strings under one of the KnownFields become numbers
// (by ParseNumber) or booleans (exactly "true" or "false") when they look like one; elements of arrays are left alone.
//
// Faults: raw is not one JSON object; a key becomes empty; two keys of an object become the same (the pointer names the
// second); the numbers exceed DefaultMaxExpanded. Normalizing a normal form changes nothing; changed is false then, and
// when it is only about white space and escapes.
func NormalizeFreeForm(raw []byte, known KnownFields) (normal json.RawMessage, changed bool, faults Faults) {
	out := bytes.NewBuffer(make([]byte, 0, len(raw)+1))
	n := normalizer{
		known: known,
		dec:   Decoder(raw),
		enc:   jsontext.NewEncoder(out),
	}
	defer Release(n.dec)
	if n.run(); len(n.faults) > 0 {
		return nil, false, n.faults
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), n.changed, nil
}

type normalizer struct {
	known    KnownFields
	dec      *jsontext.Decoder
	enc      *jsontext.Encoder
	expanded int  // digits of all numbers written so far
	changed  bool // something is another than it was
	faults   Faults
}

func (n *normalizer) run() {
	if !beginObject(n.dec, &n.faults) {
		return
	}
	n.written(n.enc.WriteToken(jsontext.BeginObject))
	var name string // the latest key written
	for n.dec.StackDepth() > 0 && !n.faults.Full() {
		container, length := n.dec.StackIndex(n.dec.StackDepth())
		inObject := container == jsontext.KindBeginObject
		token, err := n.dec.ReadToken()
		if err != nil {
			n.faults.AddSyntax(err)
			return
		}
		switch kind := token.Kind(); {
		case kind == jsontext.KindString && inObject && length%2 == 0:
			name = n.key(token.String())
		case kind == jsontext.KindString && inObject:
			n.text(token.String(), n.known[name])
		case kind == jsontext.KindString:
			n.text(token.String(), "")
		case kind == jsontext.KindNumber:
			n.number(token.String())
		default:
			n.written(n.enc.WriteToken(token))
		}
	}
	if n.expanded > DefaultMaxExpanded {
		n.faults.Add("", "has numbers of more than %d digits in total when written out", DefaultMaxExpanded)
	}
	if !n.faults.Full() {
		endOfInput(n.dec, &n.faults)
	}
}

// key writes the normal form of a key just read, and returns it. A key that cannot stay is a fault, and its value is
// skipped.
func (n *normalizer) key(key string) string {
	name := SnakeCase(key)
	switch {
	case name == "":
		n.faults.Add(n.dec.StackPointer(), "is a key without a letter or digit, which leaves nothing in snake_case")
	case n.enc.WriteToken(jsontext.String(name)) != nil: // the encoder knows the names of the object it is in
		n.faults.Add(n.dec.StackPointer(), "becomes %s in snake_case, as an earlier key of the same object does", Quote(name))
	default:
		n.changed = n.changed || name != key
		return name
	}
	if err := n.dec.SkipValue(); err != nil {
		n.faults.AddSyntax(err)
	}
	return ""
}

// text writes a string that stands in a field of that type ("" for a field nobody knows).
func (n *normalizer) text(text string, field FieldType) {
	clean := CleanText(text)
	n.changed = n.changed || clean != text
	switch text = clean; field {
	case NumberField:
		if literal, ok := ParseNumber(text); ok {
			n.changed = true
			n.number(literal)
			return
		}
	case BooleanField:
		if text == "true" || text == "false" {
			n.changed = true
			n.written(n.enc.WriteToken(jsontext.Bool(text == "true")))
			return
		}
	}
	n.written(n.enc.WriteToken(jsontext.String(text)))
}

// number writes a number as it was written.
func (n *normalizer) number(literal string) {
	n.expanded += expandedDigits(literal)
	n.written(n.enc.WriteValue(jsontext.Value(literal)))
}

// written keeps the error of a write, which only input that the decoder should have refused can cause.
func (n *normalizer) written(err error) {
	if err != nil {
		n.faults.AddSyntax(err)
	}
}
