package payload

import (
	"bytes"

	"github.com/go-json-experiment/json/jsontext"
)

// AppendString appends text as a JSON string, exactly as
// go-json-experiment/json writes it.
func AppendString[T ~string](dst []byte, text T) []byte {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			dst, _ = jsontext.AppendQuote(dst, text) // invalid UTF-8 becomes U+FFFD
			return dst
		}
	}
	dst = append(dst, '"')
	dst = append(dst, text...)
	return append(dst, '"')
}

// AppendCompact appends a JSON value that is known to be valid, exactly as
// go-json-experiment/json writes it: without white space, with only the escapes
// that JSON requires, and with unchanged numbers.
func AppendCompact(dst, valid []byte) ([]byte, error) {
	if bytes.IndexByte(valid, '\\') >= 0 {
		value := jsontext.Value(bytes.Clone(valid))
		err := value.Format()
		return append(dst, value...), err
	}
	if !hasSpace(valid) {
		return append(dst, valid...), nil
	}
	for len(valid) > 0 {
		i := bytes.IndexByte(valid, '"')
		if i < 0 {
			return appendTight(dst, valid), nil
		}
		dst = appendTight(dst, valid[:i])
		end := i + 1 + bytes.IndexByte(valid[i+1:], '"') + 1
		dst = append(dst, valid[i:end]...)
		valid = valid[end:]
	}
	return dst, nil
}

// hasSpace reports whether src has white space, inside or outside of strings.
func hasSpace(src []byte) bool {
	return bytes.IndexByte(src, ' ') >= 0 || bytes.IndexByte(src, '\n') >= 0 || bytes.IndexByte(src, '\t') >= 0 || bytes.IndexByte(src, '\r') >= 0
}

// appendTight appends JSON that contains no strings, without its white space.
func appendTight(dst, src []byte) []byte {
	for _, c := range src {
		if c > ' ' {
			dst = append(dst, c)
		}
	}
	return dst
}
