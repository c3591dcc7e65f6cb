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

// Number is a JSON number as the caller wrote it, so that nothing is rounded on the way into storage; "" is absent.
// In JSON it may also come as a string that is exactly a number, as some exporters write it.
type Number string

// errNumber and errBool are what the scalar types refuse in JSON; Decode says more.
var (
	errNumber = errors.New("signals: not a number or a numeric string that a 64-bit float can hold")
	errBool   = errors.New(`signals: not a boolean, "true" or "false"`)
)

// parseNumber reads a Number from text, the literal of a JSON number or the content of a JSON string.
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

// MarshalJSON writes the literal; null when absent.
func (n Number) MarshalJSON() ([]byte, error) { return appendLiteral(nil, string(n)), nil }

// MarshalJSONTo is MarshalJSON without an allocation, for go-json-experiment/json.
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

// Bool is a JSON boolean that may also be absent: "true", "false" or "". In JSON it may also come as one of the strings
// "true" and "false".
type Bool string

// parseBool reads a Bool from text, a JSON literal or the content of a JSON string.
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

// MarshalJSON writes true or false; null when absent.
func (b Bool) MarshalJSON() ([]byte, error) { return appendLiteral(nil, string(b)), nil }

// MarshalJSONTo is MarshalJSON without an allocation, for go-json-experiment/json.
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

// Time is an RFC 3339 instant with all the digits the caller wrote; "" is absent.
type Time string

// parseTime reads a Time from text, and the same in UTC. It is stricter than time.Parse and Time.UnmarshalText, which
// take "T1:00:00", "00,5" and "+99:99" (go.dev/issue/54580). Refused are also lower-case t and z, leap seconds (":60",
// which Go's clock cannot hold), and instants whose UTC year has not four digits.
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

// isOffset reports whether zone is a numeric offset of RFC 3339: "+hh:mm" or "-hh:mm".
func isOffset(zone string) bool {
	return (matches(zone, "+00:00") || matches(zone, "-00:00")) && zone[1:3] < "24" && zone[4:6] < "60"
}

// matches reports whether text is template with any ASCII digits in place of its zeros.
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

// Instant returns the instant, in UTC, cut to nanoseconds; the zero time when t is absent.
func (t Time) Instant() time.Time {
	instant, _, _ := parseTime(string(t))
	return instant
}

// UTC returns the same instant in UTC, with Z and with the digits of the second's fraction as they are.
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

// scalarText returns the content of a JSON string, "" for null, and otherwise the JSON text itself.
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
