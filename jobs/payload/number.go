package payload

import "strings"

// MaxNumberDigits bounds the digits of one number in plain decimal notation.
// Every float64 in its shortest form needs fewer than 345. Postgres' numeric
// could hold 147,455, which would let 8 bytes of input become 144 KiB of
// storage.
const MaxNumberDigits = 400

// ParseNumber returns text without its surrounding Unicode space if the rest is
// exactly a number in the grammar of RFC 8259, section 6, with at most
// MaxNumberDigits digits when it is written out. So "+1", "1.", ".5", "0x10",
// "1_000", "1,5", "NaN" and "Infinity" are not numbers.
func ParseNumber(text string) (literal string, ok bool) {
	literal = strings.TrimSpace(text)
	return literal, isNumber(literal) && expandedDigits(literal) <= MaxNumberDigits
}

// expandedDigits returns the number of digits, at most, of the JSON number
// literal when it is written without an exponent, as Postgres' jsonb writes it:
// 3 for 1.50, 1000 for 1e999. Very large exponents are saturated.
func expandedDigits[T ~string | ~[]byte](literal T) int {
	const saturated = 1 << 20
	i := 0
	digits := func() (n int) {
		for i < len(literal) && '0' <= literal[i] && literal[i] <= '9' {
			i++
			n++
		}
		return n
	}
	if i < len(literal) && literal[i] == '-' {
		i++
	}
	whole, fraction := digits(), 0
	if i < len(literal) && literal[i] == '.' {
		i++
		fraction = digits()
	}
	if i < len(literal) { // e or E
		i++
		negative := i < len(literal) && literal[i] == '-'
		exponent := 0
		for ; i < len(literal) && exponent < saturated; i++ {
			if c := literal[i]; '0' <= c && c <= '9' {
				exponent = exponent*10 + int(c-'0')
			}
		}
		if negative {
			exponent = -exponent
		}
		whole, fraction = whole+exponent, fraction-exponent
	}
	return max(whole, 1) + max(fraction, 0)
}

// isNumber reports whether s is a number in the grammar of RFC 8259, section 6.
func isNumber(s string) bool {
	digits := func() bool {
		rest := strings.TrimLeft(s, "0123456789")
		found := len(rest) < len(s)
		s = rest
		return found
	}
	s = strings.TrimPrefix(s, "-")
	if rest, zero := strings.CutPrefix(s, "0"); zero {
		s = rest // no digit may follow a leading zero
	} else if !digits() {
		return false
	}
	if rest, point := strings.CutPrefix(s, "."); point {
		s = rest
		if !digits() {
			return false
		}
	}
	if s != "" && (s[0] == 'e' || s[0] == 'E') {
		s = s[1:]
		if s != "" && (s[0] == '+' || s[0] == '-') {
			s = s[1:]
		}
		if !digits() {
			return false
		}
	}
	return s == ""
}
