package payload

import (
	"bytes"
	"io"
	"strings"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
)

// decoderPool reuses decoders, because making one costs as much as reading a
// small payload.
var decoderPool = sync.Pool{New: func() any { return new(jsontext.Decoder) }}

// Decoder returns a decoder of raw. The caller must return it with Release.
func Decoder(raw []byte, options ...jsontext.Options) *jsontext.Decoder {
	dec := decoderPool.Get().(*jsontext.Decoder) //nolint:forcetypeassert // the pool holds nothing else
	dec.Reset(bytes.NewBuffer(raw), options...)
	return dec
}

// Release returns a decoder to the pool. The values that it returned must not
// be used afterwards.
func Release(dec *jsontext.Decoder) {
	dec.Reset(emptyReader) // drops the reference to the payload
	decoderPool.Put(dec)
}

var emptyReader io.Reader = strings.NewReader("")
