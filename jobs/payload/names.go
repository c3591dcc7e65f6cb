package payload

import (
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// FieldType says how the text of a known field is read.
type FieldType string

// The types of known fields. The strings of all other fields stay strings.
const (
	NumberField  FieldType = "number"
	BooleanField FieldType = "boolean"
)

// KnownFields holds the snake_case names whose free-form strings are read as
// numbers or booleans, at any depth. Package pipeline makes it from the fields
// of the signals shape, which this package must not know.
type KnownFields map[string]FieldType

// SnakeCase returns the normal form of an object key: words in lower case
// joined by "_", in Unicode NFC. A word ends at any character other than a
// letter, digit or combining mark, and before an upper-case letter that starts
// a word: httpServer, HTTPServer and "HTTP server" all become http_server, and
// p95RackInletC becomes p95_rack_inlet_c. Power units are single words: "IT
// Load (kW)" becomes it_load_kw. Letters without case, of any script, are kept.
// The result is empty if the key has no letter, digit or mark. SnakeCase of a
// result is that result.
func SnakeCase(key string) string {
	if isPlainSnakeCase(key) {
		return key
	}
	key = strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Cf, r) { // joiners, soft hyphens and similar characters are invisible and end no word
			return -1
		}
		return r
	}, norm.NFC.String(key))

	var out strings.Builder
	for chunk := range strings.FieldsFuncSeq(key, isSeparator) {
		if out.Len() > 0 {
			out.WriteByte('_')
		}
		if isUnit(chunk) {
			out.WriteString(strings.ToLower(chunk))
			continue
		}
		runes := []rune(chunk)
		for i, r := range runes {
			if startsWord(runes, i) {
				out.WriteByte('_')
			}
			out.WriteRune(unicode.ToLower(r))
		}
	}
	return norm.NFC.String(out.String()) // lower case may compose although upper case cannot: J̌ → ǰ
}

// isPlainSnakeCase reports whether key is ASCII that is already in normal form,
// as most keys are.
func isPlainSnakeCase(key string) bool {
	previous := byte('_')
	for i := range len(key) {
		c := key[i]
		if c == '_' && previous == '_' || c != '_' && (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
		previous = c
	}
	return previous != '_'
}

func isSeparator(r rune) bool {
	return !unicode.IsLetter(r) && !unicode.IsNumber(r) && !unicode.IsMark(r)
}

// isUpper reports whether r has a lower case. The Unicode category would not
// do: 𝐀 is upper case without a lower case, so SnakeCase of a result would
// break the word there again.
func isUpper(r rune) bool { return unicode.ToLower(r) != r }

// startsWord reports whether chunk[i] starts a word inside chunk: the first
// capital after another character, or the last of several capitals if a small
// letter follows.
func startsWord(chunk []rune, i int) bool {
	if i == 0 || !isUpper(chunk[i]) {
		return false
	}
	if !isUpper(chunk[i-1]) {
		return true
	}
	followed := func(j int) bool { return j < len(chunk) && unicode.IsLetter(chunk[j]) && !isUpper(chunk[j]) }
	wattHour := chunk[i] == 'W' && followed(i+1) && chunk[i+1] == 'h' && !followed(i+2) // energyMWh → energy_mwh
	return followed(i+1) && !wattHour
}

// isUnit reports whether chunk is a unit whose spelling mixes case.
func isUnit(chunk string) bool {
	switch chunk {
	case "kW", "kWh", "kVA", "gCO2", "gCO2e", "kgCO2", "kgCO2e", "tCO2", "tCO2e":
		return true
	}
	return false
}
