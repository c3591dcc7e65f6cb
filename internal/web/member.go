package web

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/leomutto/pilot-in-a-box/jobs/payload"
	"github.com/leomutto/pilot-in-a-box/jobs/signals"
)

// Member is one member of a JSON object that Decode reads. Set stores its
// value, or says what is wrong with it, with pointers that start at the object.
// null counts as an absent member, except where the member is required or Clears.
type Member struct {
	Name     string
	Required bool
	Clears   bool // Set also gets null, which clears what was set before (RFC 7396)
	Set      func(value jsontext.Value, faults *payload.Faults)
}

func (m Member) pointer() jsontext.Pointer { return jsontext.Pointer("/" + m.Name) }

// stringMember is a member that takes a string. set stores it and returns "",
// or returns what is wrong with it; ok is false when the value is not a string.
func stringMember(name string, required bool, set func(text string, ok bool) (fault string)) Member {
	m := Member{Name: name, Required: required}
	m.Set = func(value jsontext.Value, faults *payload.Faults) {
		unquoted, err := jsontext.AppendUnquote(nil, value)
		if fault := set(string(unquoted), err == nil); fault != "" {
			faults.Add(m.pointer(), "%s", fault)
		}
	}
	return m
}

// TextMember is a member that takes any string.
func TextMember(name string, required bool, into *string) Member {
	return CheckedMember(name, required, into, func(s string) (string, error) { return s, nil })
}

// CheckedMember is a member that takes a string and stores what parse makes of
// it. The text of an error of parse tells the client what is wrong.
func CheckedMember[T any](name string, required bool, into *T, parse func(string) (T, error)) Member {
	return stringMember(name, required, func(text string, ok bool) string {
		if !ok {
			return "must be a string"
		}
		parsed, err := parse(text)
		if err != nil {
			return err.Error()
		}
		*into = parsed
		return ""
	})
}

// ChoiceMember is a member that takes one of a fixed set of strings.
func ChoiceMember[T ~string](name string, required bool, into *T, choices []T) Member {
	return stringMember(name, required, func(text string, ok bool) string {
		i := slices.Index(choices, T(text))
		if !ok || i < 0 {
			return "must be one of " + Joined(choices)
		}
		*into = choices[i]
		return ""
	})
}

// Joined lists strings as messages show them: "a, b, c".
func Joined[T ~string](list []T) string {
	texts := make([]string, len(list))
	for i, t := range list {
		texts[i] = string(t)
	}
	return strings.Join(texts, ", ")
}

// TimeMember is a member that takes an RFC 3339 instant.
func TimeMember(name string, into *time.Time) Member {
	const fault = "must be an RFC 3339 time such as 2026-03-01T10:00:00Z, in 1970 or later"
	return stringMember(name, false, func(text string, ok bool) string {
		at := signals.Time(text).Instant()
		if !ok || at.IsZero() || !Storable(at) {
			return fault
		}
		*into = at
		return ""
	})
}

// Storable reports whether both Postgres and RFC 3339 can represent an instant,
// and it is not before 1970.
func Storable(t time.Time) bool {
	return t.Unix() >= 0 && t.UTC().Year() <= 9999
}

// AssetMember is a member that takes the id of a site or a cluster, cleaned as
// the ids in payloads are.
func AssetMember(name string, into *string) Member {
	const fault = "must be a string of 1 to 200 characters"
	return stringMember(name, false, func(text string, ok bool) string {
		*into = payload.CleanText(text)
		if !ok || *into == "" || len([]rune(*into)) > 200 || strings.ContainsRune(text, 0) {
			return fault
		}
		return ""
	})
}

// FlagMember is a member that takes true or false.
func FlagMember(name string, into *bool) Member {
	return boolMember(name, func(set bool) { *into = set })
}

// OptionalFlagMember is a member that takes true or false; into stays nil when
// the member is absent.
func OptionalFlagMember(name string, into **bool) Member {
	return boolMember(name, func(set bool) { *into = &set })
}

func boolMember(name string, store func(bool)) Member {
	m := Member{Name: name}
	m.Set = func(value jsontext.Value, faults *payload.Faults) {
		switch value.Kind() {
		case jsontext.KindTrue, jsontext.KindFalse:
			store(value.Kind() == jsontext.KindTrue)
		default:
			faults.Add(m.pointer(), "must be true or false")
		}
	}
	return m
}

// CountMember is a member that takes a whole number from low to high.
func CountMember(name string, low, high int, into *int) Member {
	m := Member{Name: name}
	m.Set = func(value jsontext.Value, faults *payload.Faults) {
		n, err := strconv.Atoi(string(value))
		if err != nil || n < low || n > high {
			faults.Add(m.pointer(), "must be a whole number from %d to %d", low, high)
			return
		}
		*into = n
	}
	return m
}

// SettingMember is a member that takes what parse makes of a JSON value, or null,
// which makes *into nil. The text of an error of parse tells the client what is
// wrong.
func SettingMember[T any](name string, into **T, parse func(jsontext.Value) (T, error)) Member {
	m := Member{Name: name, Clears: true}
	m.Set = func(value jsontext.Value, faults *payload.Faults) {
		if value.Kind() == jsontext.KindNull {
			*into = nil
			return
		}
		parsed, err := parse(value)
		if err != nil {
			faults.Add(m.pointer(), "%s", err)
			return
		}
		*into = &parsed
	}
	return m
}

// CodeIn returns a parser for SettingMember of a string of so many capital
// letters, such as a code of ISO 3166 or ISO 4217.
func CodeIn(letters int, example string) func(jsontext.Value) (string, error) {
	return func(value jsontext.Value) (string, error) {
		text, err := jsontext.AppendUnquote(nil, value)
		if err != nil || len(text) != letters || strings.Trim(string(text), "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
			return "", fmt.Errorf("must be %d capital letters, such as %s", letters, example)
		}
		return string(text), nil
	}
}

// NumberIn returns a parser for SettingMember of a number from low to high.
func NumberIn(low, high float64) func(jsontext.Value) (float64, error) {
	return func(value jsontext.Value) (float64, error) {
		x, err := strconv.ParseFloat(string(value), 64)
		if value.Kind() != '0' || err != nil || x < low || x > high {
			return 0, fmt.Errorf("must be a number from %v to %v", low, high)
		}
		return x, nil
	}
}

// CountIn returns a parser for SettingMember of a whole number from low to high.
func CountIn(low, high int) func(jsontext.Value) (int, error) {
	return func(value jsontext.Value) (int, error) {
		n, err := strconv.Atoi(string(value))
		if err != nil || n < low || n > high {
			return 0, fmt.Errorf("must be a whole number from %d to %d", low, high)
		}
		return n, nil
	}
}
