package signals

import (
	"encoding/json"
	"reflect"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

// eachField visits all fields of the document, objects before their members.
func eachField(t reflect.Type, visit func(reflect.StructField)) {
	for sf := range t.Fields() {
		visit(sf)
		if sf.Type.Kind() == reflect.Struct {
			eachField(sf.Type, visit)
		}
	}
}

func TestTagsAreComplete(t *testing.T) {
	t.Parallel()
	eachField(reflect.TypeFor[Document](), func(sf reflect.StructField) {
		f := fieldOf(sf, "")
		require.NotEmpty(t, f.name, sf.Name)
		require.NotEmpty(t, sf.Tag.Get("doc"), f.name)
		if f.kind != kindObject {
			require.NotEmpty(t, sf.Tag.Get("example"), f.name)
		}
		if f.kind == kindText {
			require.True(t, f.enum != nil || f.maxLength > 0 || f.traceparent, "%s: text is bounded", f.name)
		}
		require.Equal(t, f.kind == kindTimestamp, sf.Tag.Get("format") == "date-time", f.name)
		if pattern := sf.Tag.Get("pattern"); pattern != "" {
			require.True(t, f.traceparent, "%s: Decode reads no patterns", f.name)
			require.Regexp(t, regexp.MustCompile(pattern), sf.Tag.Get("example"))
		}
	})
}

func TestExampleFillsEveryField(t *testing.T) {
	t.Parallel()
	doc, faults := Decode(Example())
	require.Empty(t, faults)
	require.Empty(t, Validate(doc))
	eachValue(t, documentShape(), reflect.ValueOf(doc).Elem())

	var again Document
	encoded, err := json.Marshal(doc)
	require.NoError(t, err)
	require.JSONEq(t, string(Example()), string(encoded))
	require.NoError(t, json.Unmarshal(encoded, &again))
	require.Equal(t, *doc, again, "encoding/json reads and writes the same")

	Example()[0] = 'x'
	require.Equal(t, byte('{'), Example()[0], "callers get a copy")
}

func eachValue(t *testing.T, s *shape, v reflect.Value) {
	t.Helper()
	for i := range s.fields {
		require.False(t, v.Field(i).IsZero(), s.fields[i].pointer)
		if s.fields[i].kind == kindObject {
			eachValue(t, s.fields[i].object, v.Field(i))
		}
	}
}
