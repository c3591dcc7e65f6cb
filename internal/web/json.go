package api

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humamux"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/leomutto/pilot-in-a-box/jobs/payload"
)

// encode is the one encoder of this package. It leaves numbers of raw JSON as
// they are and escapes nothing that JSON does not ask for.
func encode(w io.Writer, v any) error {
	fast, ok := v.(appender)
	if !ok {
		return json.MarshalWrite(w, v)
	}
	buf := encodings.Get().(*[]byte) //nolint:forcetypeassert // the pool holds nothing else
	defer encodings.Put(buf)
	out, err := fast.appendJSON((*buf)[:0])
	if err != nil {
		return err
	}
	if cap(out) <= keptEncoding {
		*buf = out
	}
	_, err = w.Write(out)
	return err
}

// appender is a type that answers are full of. Its JSON is what
// json.MarshalWrite makes of it; a test holds the two together.
type appender interface {
	appendJSON(dst []byte) ([]byte, error)
}

// keptEncoding is how large the memory may be that is kept for the next answer.
const keptEncoding = 64 << 10

var encodings = sync.Pool{New: func() any { return new(make([]byte, 0, 4<<10)) }}

// JSONBody makes an input of a huma operation read its body itself: huma would
// parse it twice, into values that round numbers, and say less about faults.
type JSONBody struct{ request *http.Request }

// Resolve implements huma.Resolver.
func (b *JSONBody) Resolve(ctx huma.Context) []error {
	b.request, _ = humamux.Unwrap(ctx)
	return nil
}

// read returns the body, which must say that it is JSON.
func (b *JSONBody) read(most int64) ([]byte, error) {
	if err := checkMedia(b.request.Header); err != nil {
		return nil, err
	}
	length := b.request.ContentLength
	if length > most {
		return nil, &http.MaxBytesError{Limit: most}
	}
	var buf bytes.Buffer
	buf.Grow(int(max(length, 0)) + bytes.MinRead) // ReadFrom asks for that much room to see the end
	_, err := buf.ReadFrom(http.MaxBytesReader(nil, b.request.Body, most))
	var (
		tooLarge *http.MaxBytesError
		network  net.Error
	)
	switch {
	case err == nil:
		return buf.Bytes(), nil
	case errors.As(err, &tooLarge):
		return nil, err
	case errors.As(err, &network) && network.Timeout():
		return nil, &Problem{Status: http.StatusRequestTimeout, Code: codeTimeout, Detail: "The body did not arrive in time."}
	}
	return nil, &Problem{Status: http.StatusBadRequest, Code: codeInvalidJSON, Detail: "The body ended early.", cause: err}
}

func checkMedia(h http.Header) error {
	unsupported := func(detail string) error {
		return &Problem{Status: http.StatusUnsupportedMediaType, Code: codeMediaType, Detail: detail}
	}
	if coding := h.Get("Content-Encoding"); coding != "" && !strings.EqualFold(coding, "identity") {
		return unsupported("The body must be sent without a Content-Encoding.")
	}
	given := h.Get("Content-Type")
	if given == "application/json" {
		return nil
	}
	media, params, err := mime.ParseMediaType(given)
	if err != nil || media != "application/json" && !strings.HasSuffix(media, "+json") {
		return unsupported("The Content-Type must be application/json.")
	}
	if charset := params["charset"]; charset != "" && !strings.EqualFold(charset, "utf-8") {
		return unsupported("JSON is UTF-8; another charset cannot be read.")
	}
	return nil
}

// member is one member of a JSON object that decode knows.
type member struct {
	name     string
	required bool
	set      func(value jsontext.Value, faults *payload.Faults)
}

// decode is the one decoder of this package. It reads a body that must be one
// JSON object of these members and no others. Text that is no JSON is answered
// 400; what else is wrong is collected into faults. The values are parts of body
// and valid JSON, apart from names given twice and bad UTF-8 within them.
func decode(body []byte, faults *payload.Faults, members ...member) error {
	dec := lenient(body)
	defer payload.Release(dec)
	if kind := dec.PeekKind(); kind != jsontext.KindBeginObject {
		if err := dec.SkipValue(); err != nil {
			return malformed(err)
		}
		faults.Add("", "must be an object, got %s", payload.KindName(kind))
		return endOfBody(dec)
	}
	if _, err := dec.ReadToken(); err != nil {
		return malformed(err)
	}
	var seen uint64 // a bit for each of members
	for dec.PeekKind() != jsontext.KindEndObject {
		token, err := dec.ReadToken()
		if err != nil {
			return malformed(err)
		}
		name := token.String()
		value, err := dec.ReadValue()
		if err != nil {
			return malformed(err)
		}
		i := slices.IndexFunc(members, func(m member) bool { return m.name == name })
		switch pointer := jsontext.Pointer("").AppendToken(strings.ToValidUTF8(name, string(utf8.RuneError))); {
		case i < 0:
			faults.Add(pointer, "is not a field of this object")
		case seen&(1<<i) != 0:
			faults.Add(pointer, "is a name given twice in the same object")
		default:
			seen |= 1 << i
			if value.Kind() != jsontext.KindNull || members[i].required {
				members[i].set(part(body, dec, value), faults)
			}
		}
	}
	if _, err := dec.ReadToken(); err != nil {
		return malformed(err)
	}
	for i, m := range members {
		if m.required && seen&(1<<i) == 0 {
			faults.Add(jsontext.Pointer("/"+m.name), "is required")
		}
	}
	return endOfBody(dec)
}

// lenient is a decoder that leaves it to others to judge names and characters. It
// must be released.
func lenient(body []byte) *jsontext.Decoder {
	return payload.Decoder(body, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
}

// part returns the value that dec read last as a part of body: what the decoder
// returned is only lent until its next call.
func part(body []byte, dec *jsontext.Decoder, value jsontext.Value) jsontext.Value {
	end := int(dec.InputOffset())
	return body[end-len(value) : end : end]
}

func endOfBody(dec *jsontext.Decoder) error {
	if _, err := dec.ReadToken(); !errors.Is(err, io.EOF) {
		return &Problem{
			Status: http.StatusBadRequest, Code: codeInvalidJSON, Detail: "The body must be one JSON value, but more follows it.",
		}
	}
	return nil
}

// malformed is the problem that an error of the decoder stands for.
func malformed(err error) error {
	p := &Problem{Status: http.StatusBadRequest, Code: codeInvalidJSON, Detail: "The body is not valid JSON."}
	if errors.Is(err, io.EOF) {
		p.Detail = "The body is empty; it must be a JSON object."
		return p
	}
	var faults payload.Faults
	faults.AddSyntax(err)
	p.Errors = invalidBody(faults).Errors
	return p
}

// choice is a member that takes one of a fixed set of strings.
func choice[T ~string](name string, required bool, into *T, choices []T) member {
	return member{name: name, required: required, set: func(value jsontext.Value, faults *payload.Faults) {
		text, err := jsontext.AppendUnquote(nil, value)
		if i := slices.Index(choices, T(text)); err == nil && i >= 0 {
			*into = choices[i]
			return
		}
		faults.Add(jsontext.Pointer("/"+name), "must be one of %s", joined(choices))
	}}
}

func joined[T ~string](list []T) string {
	texts := make([]string, len(list))
	for i, t := range list {
		texts[i] = string(t)
	}
	return strings.Join(texts, ", ")
}
