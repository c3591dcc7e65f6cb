package signals

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/jobs/payload"
)

// sameAsSlowPath compares the fast reader with the functions that it replaces, and
// reports whether the fast reader accepted raw.
func sameAsSlowPath(t *testing.T, raw []byte) bool {
	t.Helper()
	before := bytes.Clone(raw)
	for _, lim := range []payload.Limits{{}, {MaxDepth: 4}, {MaxExpanded: 100}} {
		meta, faults := Accept(raw, lim)
		slowMeta, slowFaults := accept(raw, lim)
		require.Equal(t, slowMeta, meta, "%q", raw)
		require.Equal(t, slowFaults, faults, "%q", raw)
	}
	doc, faults := Decode(raw)
	slowDoc, slowFaults := decode(raw)
	require.Equal(t, slowDoc, doc, "%q", raw)
	require.Equal(t, slowFaults, faults, "%q", raw)

	meta, early, exact, faults := Inspect(raw)
	slowMeta, slowFaults := payload.Inspect(raw)
	require.Equal(t, slowMeta, meta, "%q", raw)
	require.Equal(t, slowFaults, faults, "%q", raw)
	if early != nil {
		require.Equal(t, sameJSON(t, raw, appended(t, early)), exact, "%q", raw)
		require.Equal(t, slowDoc, early, "%q", raw)
		require.Empty(t, payload.Check(raw, payload.Limits{}), "%q", raw)
	}
	require.Equal(t, before, raw, "not written to")
	return early != nil
}

// appended is v as AppendStruct writes it.
func appended[T any](t *testing.T, v *T) []byte {
	t.Helper()
	raw, err := payload.AppendStruct(nil, v)
	require.NoError(t, err)
	return raw
}

// sameJSON reports whether two texts are the same value, including the spelling of
// its numbers.
func sameJSON(t *testing.T, a, b []byte) bool {
	t.Helper()
	x, y := jsontext.Value(bytes.Clone(a)), jsontext.Value(bytes.Clone(b))
	require.NoError(t, x.Format(jsontext.ReorderRawObjects(true)))
	require.NoError(t, y.Format(jsontext.ReorderRawObjects(true)))
	return string(x) == string(y)
}

// values are good and bad JSON values of a field.
var values = []string{
	`null`, `true`, `false`, `truex`, `nul`, `{}`, `[]`, `{"x":1}`, `[1]`, ``, ` `, `,`, `"`, `"x`, `}`,
	`0`, `-0`, `1`, `-1`, `01`, `1.`, `.5`, `+1`, `-`, `--1`, `1.50`, `1e3`, `1E-3`, `0x1`, `1 2`, `1/**/`,
	strings.Repeat("9", 32), strings.Repeat("9", 33), "0." + strings.Repeat("9", 40), strings.Repeat("9", 401), `1e999`,
	`""`, `" "`, `"1"`, `" 1"`, `"1 "`, `"1e3"`, `"-0.5"`, `"01"`, `"NaN"`, `"` + strings.Repeat("9", 400) + `"`,
	`"true"`, `"false"`, `" true"`, `"True"`, `"1.1"`, `"1.0-simple"`, `"shadow"`, `"prod"`, `"kW"`, `"EUR"`, `"internal"`,
	`"\u0031"`, `"\u0000"`, `"\/"`, `"\ud800"`, `"\"`, `"\\"`, "\"\x00\"", "\"\x1f\"", "\"\x7f\"", "\"\xff\"", "\"\xed\xa0\x80\"", "\"\n\"",
	`"ä"`, `"` + "a\u0308" + `"`, `" é "`, `"` + "\u2028" + `"`, `"<&>"`, `"` + "\ufeff" + `"`, "\ufeff1", "\u00a01", "\x001",
	`"` + strings.Repeat("x", 200) + `"`, `"` + strings.Repeat("x", 201) + `"`, `"` + strings.Repeat("é", 200) + `"`,
	`"` + strings.Repeat("\u0958", 101) + `"`, `"` + strings.Repeat(" ", 201) + `"`,
	`"2026-03-01T10:30:00Z"`, `"2026-03-01T10:30:00.123456789012Z"`, `"2026-03-01T10:30:00+01:00"`, `"2026-03-01T10:30:00.5-00:00"`,
	`"2026-03-01T10:30:00z"`, `"2026-02-30T10:30:00Z"`, `"0000-01-01T00:00:00+01:00"`, `"2026-03-01T10:30:60Z"`, `"2026-03-01T10:30:00.Z"`,
	`"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"`, `"00-00000000000000000000000000000000-00f067aa0ba902b7-00"`,
	`"00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-00"`, `"01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"`,
	`"00-4BF92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"`, `"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0"`,
	`"00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"`, `"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0-"`,
	`1,"more":2`, `1,"schema_version":"1.1"`, `1,"it_load_kw":1`, `"a","site_id":"b"`, `1}`, `1},{`, `1]`, `1 , `,
}

func TestReadAgreesWithDecode(t *testing.T) {
	t.Parallel()
	require.True(t, sameAsSlowPath(t, Example()))
	require.True(t, sameAsSlowPath(t, []byte(minimal)))
	require.True(t, sameAsSlowPath(t, []byte(" \t\r\n"+minimal+" \n")))
	for end := range minimal {
		sameAsSlowPath(t, []byte(minimal[:end]))
		sameAsSlowPath(t, []byte(minimal[:end]+minimal[end+1:]))
	}
	for _, extra := range []string{"x", "{}", "\x00", "\ufeff", ","} {
		sameAsSlowPath(t, []byte(minimal+extra))
		sameAsSlowPath(t, []byte(extra+minimal))
	}
	const here = `"here"`
	fast, total := 0, 0
	eachPointer(documentShape(), func(f *field) {
		template := string(edit(t, minimal, string(f.pointer), here))
		for _, value := range values {
			total++
			if sameAsSlowPath(t, []byte(strings.Replace(template, here, value, 1))) {
				fast++
			}
		}
		for _, base := range []string{minimal, string(Example())} {
			template, key := string(edit(t, base, string(f.pointer), here)), `"`+f.name+`":`
			sameAsSlowPath(t, []byte(strings.Replace(template, key, strings.ToUpper(key), 1)))
			sameAsSlowPath(t, []byte(strings.Replace(template, key, `"`+f.name+`"`, 1)))
			sameAsSlowPath(t, edit(t, base, string(f.pointer), ""))
		}
	})
	require.Greater(t, fast, total/20, "enough payloads must reach the fast reader")
}

func eachPointer(s *shape, visit func(*field)) {
	for i := range s.fields {
		visit(&s.fields[i])
		if s.fields[i].kind == kindObject {
			eachPointer(s.fields[i].object, visit)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add(Example())
	f.Add([]byte(minimal))
	for _, value := range values {
		f.Add([]byte(strings.Replace(minimal, "100", value, 1)))
		f.Add([]byte(strings.Replace(minimal, `"site-1"`, value, 1)))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		sameAsSlowPath(t, raw)
		doc, _ := Decode(raw)
		if doc == nil {
			return
		}
		want, err := json.Marshal(doc)
		require.NoError(t, err)
		require.Equal(t, string(want), string(appended(t, doc)))
		if len(Validate(doc)) > 0 {
			return
		}
		derived, warnings := Derive(doc)
		want, err = json.Marshal(derived)
		require.NoError(t, err)
		require.Equal(t, string(want), string(appended(t, &derived)))
		for i := range warnings {
			want, err = json.Marshal(warnings[i])
			require.NoError(t, err)
			require.Equal(t, string(want), string(appended(t, &warnings[i])))
		}
	})
}

func TestAppendDocument(t *testing.T) {
	t.Parallel()
	same := func(doc *Document) {
		t.Helper()
		want, err := json.Marshal(doc)
		require.NoError(t, err)
		require.Equal(t, string(want), string(appended(t, doc)))
	}
	same(&Document{})
	eachPointer(documentShape(), func(f *field) { // each field alone
		var doc Document
		v := reflect.ValueOf(&doc).Elem()
		for s, path := documentShape(), strings.Split(string(f.pointer), "/")[1:]; len(path) > 0; path = path[1:] {
			member := s.byName[path[0]]
			v, s = v.Field(member.index), member.object
		}
		switch f.kind {
		case kindObject:
			same(&doc)
		case kindNumber:
			v.SetString("-1.50e3")
			same(&doc)
		case kindBoolean:
			v.SetString("false")
			same(&doc)
		default:
			for _, content := range []string{"x", `"\/`, "\x00\x1f\x7f\n", "é\u2028<&>"} {
				v.SetString(content)
				same(&doc)
			}
		}
	})
}

func TestAppendDerived(t *testing.T) {
	t.Parallel()
	figures := []float64{0, 1, -1, 0.1, 1e-6, 9.99e-7, 1e-9, 1.5e-10, -1e-300, 1e20, 1e21, -1.25e22, 1e300, 5e-324, 1056.25, 76.92307692307692}
	for i := range figures {
		var d Derived
		v := reflect.ValueOf(&d).Elem()
		for n := range v.NumField() {
			switch member := v.Field(n).Addr().Interface().(type) {
			case **float64:
				if (n+i)%4 > 0 {
					*member = &figures[(i+n)%len(figures)]
				}
			case **string:
				if i%2 > 0 {
					*member = new(fmt.Sprint("a\"b", i))
				}
			default:
				require.Fail(t, "AppendStruct is not tried with such a field")
			}
		}
		want, err := json.Marshal(d)
		require.NoError(t, err)
		require.Equal(t, string(want), string(appended(t, &d)))
	}
}
