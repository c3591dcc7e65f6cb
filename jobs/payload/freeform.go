package payload

import (
	"bytes"
	"encoding/json"

	"github.com/go-json-experiment/json/jsontext"
)

// NormalizeFreeForm returns the normal form of a free-form payload. Keys are
// normalized by SnakeCase and strings by CleanText. Numbers and the order of
// members stay as they are, and white space is removed. A string under one of
// the known fields becomes a number if ParseNumber accepts it, or a boolean if
// it is exactly "true" or "false"; elements of arrays stay strings.
//
// It is a fault if raw is not one JSON object, if the normal form of a key is
// empty, if two keys of an object have the same normal form (the pointer names
// the second), or if the numbers exceed DefaultMaxExpanded. changed is false if
// raw and its normal form differ in nothing but white space and escapes, which
// is always so if raw is a normal form.
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
	changed  bool // the normal form has another key or value than the payload
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

// key writes the normal form of a key that was just read, and returns it. If
// the key is a fault, its value is skipped.
func (n *normalizer) key(key string) string {
	name := SnakeCase(key)
	switch {
	case name == "":
		n.faults.Add(n.dec.StackPointer(), "has no letter or digit, so its name in snake_case would be empty")
	case n.enc.WriteToken(jsontext.String(name)) != nil: // the encoder knows the names that the object has already
		n.faults.Add(n.dec.StackPointer(), "becomes %s in snake_case, like an earlier key of the same object", Quote(name))
	default:
		n.changed = n.changed || name != key
		return name
	}
	if err := n.dec.SkipValue(); err != nil {
		n.faults.AddSyntax(err)
	}
	return ""
}

// text writes a string that is the value of a field of that type; "" is the
// type of an unknown field.
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

// number writes a number with its original spelling.
func (n *normalizer) number(literal string) {
	n.expanded += expandedDigits(literal)
	n.written(n.enc.WriteValue(jsontext.Value(literal)))
}

// written records the error of a write. Only input that the decoder should have
// refused can cause one.
func (n *normalizer) written(err error) {
	if err != nil {
		n.faults.AddSyntax(err)
	}
}
