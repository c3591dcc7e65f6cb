package payload

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCheckAccepts(t *testing.T) {
	t.Parallel()
	for name, raw := range map[string]string{
		"empty object":          `{}`,
		"white space":           " \t\r\n{ } \n",
		"all kinds":             `{"a":[1,-2.5e3,true,false,null,"x",{}],"b":{"c":[]}}`,
		"same name elsewhere":   `{"a":{"a":1},"b":[{"a":1},{"a":2}]}`,
		"any Unicode":           `{"ключ":"\ud83d\ude00 \uffff 😀"}`,
		"escaped backslash":     `{"a":"\\u0000","b":"\\\\u0000"}`,
		"empty name":            `{"":1}`,
		"long number":           `{"a":` + strings.Repeat("9", MaxNumberDigits) + `}`,
		"long exponent":         `{"a":1e399,"b":1e-399,"c":1E+10,"d":1e0000000000000001}`,
		"zero":                  `{"a":0,"b":-0,"c":0.0,"d":-0e0}`,
		"deepest":               nested(DefaultMaxDepth),
		"many small numbers":    `{"a":[` + strings.Repeat("1,", 100_000) + `1]}`,
		"escapes":               `{"a":"\"\\\/\b\f\n\r\t"}`,
		"exactly the expansion": `{"a":[` + strings.Repeat("1e399,", DefaultMaxExpanded/400-1) + `1e399]}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Empty(t, Check([]byte(raw), Limits{}))
			require.True(t, json.Valid([]byte(raw)))
		})
	}
}

func TestCheckRefuses(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ raw, pointer, detail string }{
		"nothing":             {``, ``, `must be a JSON object, got nothing`},
		"white space only":    {" \n", ``, `must be a JSON object, got nothing`},
		"null":                {`null`, ``, `must be a JSON object, got null`},
		"array":               {`[{}]`, ``, `must be a JSON object, got an array`},
		"string":              {`"{}"`, ``, `must be a JSON object, got a string`},
		"two objects":         {`{"a":1} {}`, ``, `must be a single JSON object, but more data follows after byte 7`},
		"rubbish behind":      {`{} x`, ``, `must be a single JSON object, but more data follows after byte 2`},
		"unfinished":          {`{"a":1`, ``, `is not valid JSON at byte 6:`},
		"unfinished name":     {`{"a`, ``, `is not valid JSON at byte 3:`},
		"trailing comma":      {`{"a":[1,]}`, `/a`, `is not valid JSON at byte 7:`},
		"NaN":                 {`{"a":NaN}`, `/a`, `is not valid JSON at byte 5:`},
		"Infinity":            {`{"a":-Infinity}`, `/a`, `is not valid JSON at byte 6:`},
		"leading zero":        {`{"a":01}`, ``, `is not valid JSON at byte 6:`},
		"single quotes":       {`{'a':1}`, ``, `is not valid JSON at byte 1:`},
		"comment":             {`{/**/}`, ``, `is not valid JSON at byte 1:`},
		"byte order mark":     {"\ufeff{}", ``, `is not valid JSON at byte 0:`},
		"name twice":          {`{"a":1,"b":{"x":1,"x":2}}`, `/b/x`, `is a name given twice in the same object (byte 18)`},
		"name twice, escaped": {`{"a":1,"\u0061":2}`, `/a`, `is a name given twice in the same object (byte 7)`},
		"invalid UTF-8":       {"{\"a\":\"x\xff\"}", `/a`, `is not valid JSON at byte 7:`},
		"invalid UTF-8 name":  {"{\"\xc3\":1}", ``, `is not valid JSON at byte 2:`},
		"UTF-8 surrogate":     {"{\"a\":\"\xed\xa0\x80\"}", `/a`, `is not valid JSON at byte 6:`},
		"lone high surrogate": {`{"a":"\ud83d"}`, `/a`, "is not valid JSON at byte 6:"},
		"lone low surrogate":  {`{"a":"\ude00"}`, `/a`, "is not valid JSON at byte 6:"},
		"NUL in a string":     {`{"a":{"b/c~":["x\u0000"]}}`, `/a/b~1c~0/0`, `contains U+0000, which cannot be stored`},
		"NUL after backslash": {`{"a":"\\\u0000"}`, `/a`, `contains U+0000, which cannot be stored`},
		"raw NUL":             {"{\"a\":\"\x00\"}", `/a`, `is not valid JSON at byte 6:`},
		"too deep":            {nested(DefaultMaxDepth + 1), strings.Repeat("/a", DefaultMaxDepth), `is nested deeper than 32 levels`},
		"too deep, arrays":    {`{"a":` + strings.Repeat("[", 500_000), "/a" + strings.Repeat("/0", 31), `is nested deeper than 32 levels`},
		"huge exponent":       {`{"a":[0,1e400000]}`, `/a/1`, `is a number of more than 400 digits when written out`},
		"endless exponent":    {`{"a":0e-` + strings.Repeat("9", 1000) + `}`, `/a`, `is a number of more than 400 digits when written out`},
		"1e400":               {`{"a":1e400}`, `/a`, `is a number of more than 400 digits when written out`},
		"1e-400":              {`{"a":1e-400}`, `/a`, `is a number of more than 400 digits when written out`},
		"long number":         {`{"a":` + strings.Repeat("9", MaxNumberDigits+1) + `}`, `/a`, `is a number of more than 400 digits when written out`},
		"amplification":       {`{"a":[` + strings.Repeat("1e399,", DefaultMaxExpanded/400) + `1e399]}`, ``, `has numbers of more than 4194304 digits in total when written out`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			faults := Check([]byte(test.raw), Limits{})
			require.Len(t, faults, 1)
			require.Equal(t, test.pointer, faults[0].Pointer)
			require.True(t, strings.HasPrefix(faults[0].Detail, test.detail), faults[0].Detail) // what follows is jsontext's
		})
	}
}

func TestCheckCollectsFaults(t *testing.T) {
	t.Parallel()
	faults := Check([]byte(`{"a":1e999,"b":"\u0000","c":{"d":[1e999]}}`), Limits{})
	require.Len(t, faults, 3)
	require.Equal(t, "/c/d/0", faults[2].Pointer)

	require.Len(t, Check([]byte(`{"a":[`+strings.Repeat("1e999,", 10_000)+`1]}`), Limits{}), maxFaults)
	require.Len(t, Check([]byte(`{"`+strings.Repeat("k", 1<<19)+`":1e999}`), Limits{})[0].Pointer, len("/")+maxToken+len("…"))
}

func TestCheckLimits(t *testing.T) {
	t.Parallel()
	require.Empty(t, Check([]byte(`{"a":[1,22]}`), Limits{MaxDepth: 2, MaxExpanded: 3}))
	require.Equal(t, Faults{{"/a", "is nested deeper than 1 levels"}}, Check([]byte(`{"a":[1,22]}`), Limits{MaxDepth: 1}))
	require.Equal(t, Faults{{"", "has numbers of more than 2 digits in total when written out"}},
		Check([]byte(`{"a":[1,22,333]}`), Limits{MaxExpanded: 2}))
}

func TestExpandedDigits(t *testing.T) {
	t.Parallel()
	for literal, want := range map[string]int{
		"0": 1, "-0": 1, "7": 1, "123": 3, "-123": 3, "1.50": 3, "0.001": 4, "1e3": 4, "1E+3": 4, "1e-3": 4, "1e999": 1000,
		"12345e-2": 5, "1.5e1": 2, "0.5e-2": 4, "1e0000002": 3, "1e-999": 1000, "0e99": 100,
	} {
		require.Equal(t, want, expandedDigits(literal), literal)
	}
	require.Greater(t, expandedDigits("1e"+strings.Repeat("9", 100)), 1_000_000)
	require.Greater(t, expandedDigits("1e-"+strings.Repeat("9", 100)), 1_000_000)
}

func TestParseNumber(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"0", "-0", "1.50", "1e3", "1E-3", "12345678901234567890", "-0.5e+10"} {
		literal, ok := ParseNumber("\u2003 " + text + "\n")
		require.True(t, ok, text)
		require.Equal(t, text, literal)
		require.True(t, json.Valid([]byte(literal)))
	}
	for _, text := range []string{"", " ", "-", "+1", "01", "1.", ".5", "1e", "1e+", "0x10", "1_000", "1,5", "1 2", "NaN",
		"Infinity", "-Infinity", "١", "1e400", "--1", "1.5.5", "true"} {
		_, ok := ParseNumber(text)
		require.False(t, ok, text)
	}
}

// nested returns an object in an object …, depth levels in all.
func nested(depth int) string {
	return strings.Repeat(`{"a":`, depth-1) + `{}` + strings.Repeat(`}`, depth-1)
}

func FuzzCheck(f *testing.F) {
	for _, seed := range []string{`{}`, `{"a":[1e3,"\u0000",null]}`, `{"a":"\ud83d\ude00","b":"\\u0000"}`, `[1]`, `{"a":1,"a":2}`,
		"{\"\xff\":1}", `{"a":-0.0e-0}`, nested(33)} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		faults := Check(raw, Limits{})
		for _, fault := range faults {
			require.NotEmpty(t, fault.Detail)
			require.NotContains(t, fault.Pointer+fault.Detail, "\x00")
		}
		require.LessOrEqual(t, len(faults), maxFaults)
		if len(faults) > 0 {
			return
		}
		var object map[string]json.RawMessage
		require.NoError(t, json.Unmarshal(raw, &object), "what Check accepts, encoding/json accepts")
		_, _ = Inspect(raw)
	})
}

// FuzzIsNumber holds ParseNumber's grammar against encoding/json's.
func FuzzIsNumber(f *testing.F) {
	for _, seed := range []string{"0", "-1.5e+3", "01", "1.", "1e", "NaN", "-"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var n json.Number
		want := json.Valid([]byte(text)) && text == strings.TrimSpace(text) && json.Unmarshal([]byte(text), &n) == nil &&
			text[0] != '"' && text != "null"
		require.Equal(t, want, isNumber(text))
	})
}
