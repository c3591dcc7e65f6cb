package payload

import (
	"bytes"
	"io"
	"strings"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
)

// decoders are used again and again: to make one costs as much as to read a small payload.
var decoders = sync.Pool{New: func() any { return new(jsontext.Decoder) }}

// Decoder returns a decoder of raw, to be handed back by Release.
func Decoder(raw []byte, options ...jsontext.Options) *jsontext.Decoder {
	dec := decoders.Get().(*jsontext.Decoder) //nolint:forcetypeassert // the pool holds nothing else
	dec.Reset(bytes.NewBuffer(raw), options...)
	return dec
}

// Release hands a decoder back. Nothing that it lent, such as a value it returned, may be used any more.
func Release(dec *jsontext.Decoder) {
	dec.Reset(nothing) // lets go of the payload
	decoders.Put(dec)
}

var nothing io.Reader = strings.NewReader("")
