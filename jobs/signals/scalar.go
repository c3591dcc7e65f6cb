package signals

import (
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/leomutto/pilot-in-a-box/jobs/payload"
)

// Number is a JSON number with the caller's spelling, so that nothing is
// rounded on the way into storage; "" is absent. The JSON may also be a string
// that is exactly a number, which some exporters write.
type Number string

// The errors of the scalar types for JSON that they refuse. The faults of
// Decode are more precise.
var (
	errNumber = errors.New("signals: neither a number nor a numeric string within the range of a 64-bit float")
	errBool   = errors.New(`signals: neither a boolean nor "true" or "false"`)
)

// parseNumber reads a Number from text, which is the literal of a JSON number
// or the content of a JSON string.
func parseNumber(text string) (Number, bool) {
	literal, ok := payload.ParseNumber(text)
	return Number(literal), ok && !math.IsInf(Number(literal).Float(), 0)
}

// Given reports whether the number is present.
func (n Number) Given() bool { return n != "" }

// Float returns the float64 nearest to n; 0 when n is absent.
func (n Number) Float() float64 {
	f, _ := strconv.ParseFloat(string(n), 64) // n holds the grammar of JSON; out of range gives ±Inf
	return f
}

// JSONLiteral implements payload.Literal.
func (Number) JSONLiteral() {}

// MarshalJSON writes the literal, or null if it is absent.
func (n Number) MarshalJSON() ([]byte, error) { return appendLiteral(nil, string(n)), nil }

// MarshalJSONTo is MarshalJSON without an allocation, for
// go-json-experiment/json.
func (n Number) MarshalJSONTo(enc *jsontext.Encoder) error {
	return enc.WriteValue(appendLiteral(enc.AvailableBuffer(), string(n)))
}

// UnmarshalJSON reads a JSON number, a numeric string, or null (absent).
func (n *Number) UnmarshalJSON(data []byte) error {
	text, err := scalarText(data)
	if err != nil {
		return err
	}
	value, ok := parseNumber(text)
	if !ok && text != "" {
		return errNumber
	}
	*n = value
	return nil
}

// Bool is a JSON boolean that may be absent: "true", "false" or "". The JSON
// may also be one of the strings "true" and "false".
type Bool string

// parseBool reads a Bool from text, which is a JSON literal or the content of a
// JSON string.
func parseBool(text string) (Bool, bool) {
	text = strings.TrimSpace(text)
	return Bool(text), text == "true" || text == "false"
}

// Given reports whether the boolean is present.
func (b Bool) Given() bool { return b != "" }

// True reports whether the boolean is present and true.
func (b Bool) True() bool { return b == "true" }

// JSONLiteral implements payload.Literal.
func (Bool) JSONLiteral() {}

// MarshalJSON writes true or false, or null if it is absent.
func (b Bool) MarshalJSON() ([]byte, error) { return appendLiteral(nil, string(b)), nil }

// MarshalJSONTo is MarshalJSON without an allocation, for
// go-json-experiment/json.
func (b Bool) MarshalJSONTo(enc *jsontext.Encoder) error {
	return enc.WriteValue(appendLiteral(enc.AvailableBuffer(), string(b)))
}

// UnmarshalJSON reads a JSON boolean, "true", "false", or null (absent).
func (b *Bool) UnmarshalJSON(data []byte) error {
	text, err := scalarText(data)
	if err != nil {
		return err
	}
	value, ok := parseBool(text)
	if !ok && text != "" {
		return errBool
	}
	*b = value
	return nil
}

// Time is an RFC 3339 instant with all digits of the caller; "" is absent.
type Time string

// parseTime reads a Time from text, and returns it in UTC as well. It is
// stricter than time.Parse and Time.UnmarshalText, which accept "T1:00:00",
// "00,5" and "+99:99" (go.dev/issue/54580). It also refuses lower-case t and z,
// leap seconds (":60", which time.Time cannot represent), and instants whose
// UTC year does not have four digits.
func parseTime(text string) (instant time.Time, utc Time, ok bool) {
	const layout = "2006-01-02T15:04:05"
	if len(text) <= len(layout) || !matches(text[:len(layout)], "0000-00-00T00:00:00") {
		return time.Time{}, "", false
	}
	zone, fraction := text[len(layout):], ""
	if zone[0] == '.' {
		end := len(zone) - len(strings.TrimLeft(zone[1:], "0123456789"))
		fraction, zone = zone[:end], zone[end:]
	}
	if fraction == "." || zone != "Z" && !isOffset(zone) {
		return time.Time{}, "", false
	}
	instant, err := time.Parse(time.RFC3339, text)
	instant = instant.UTC()
	if err != nil || instant.Year() < 0 || instant.Year() > 9999 {
		return time.Time{}, "", false
	}
	if zone == "Z" {
		return instant, Time(text), true
	}
	return instant, Time(instant.Format(layout) + fraction + "Z"), true
}

// isOffset reports whether zone is a numeric offset of RFC 3339: "+hh:mm" or
// "-hh:mm".
func isOffset(zone string) bool {
	return (matches(zone, "+00:00") || matches(zone, "-00:00")) && zone[1:3] < "24" && zone[4:6] < "60"
}

// matches reports whether text equals template, in which a zero stands for any
// ASCII digit.
func matches(text, template string) bool {
	if len(text) != len(template) {
		return false
	}
	for i := range len(text) {
		c := text[i]
		if digit := '0' <= c && c <= '9'; digit != (template[i] == '0') || !digit && c != template[i] {
			return false
		}
	}
	return true
}

// Instant returns the instant in UTC, truncated to nanoseconds, or the zero
// time if t is absent.
func (t Time) Instant() time.Time {
	instant, _, _ := parseTime(string(t))
	return instant
}

// UTC returns the same instant in UTC, with Z and with unchanged digits of the
// fraction of a second.
func (t Time) UTC() Time {
	_, utc, _ := parseTime(string(t))
	return utc
}

func appendLiteral(dst []byte, literal string) []byte {
	if literal == "" {
		literal = "null"
	}
	return append(dst, literal...)
}

// scalarText returns the content of a JSON string, "" for null, and otherwise
// the JSON text itself.
func scalarText(data []byte) (string, error) {
	if len(data) > 0 && data[0] == '"' {
		var text string
		if err := json.Unmarshal(data, &text); err != nil {
			return "", err
		}
		if text == "" {
			return " ", nil // an empty string is not the same as null
		}
		return text, nil
	}
	if string(data) == "null" {
		return "", nil
	}
	return string(data), nil
}
