package payload

import (
	"encoding/json"
	"math"
	"testing"

	jsonx "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/stretchr/testify/require"
)

type everyKind struct {
	Text    string          `json:"text"`
	Int     int64           `json:"int"`
	Small   int16           `json:"small,omitzero"`
	Float   float64         `json:"float"`
	Flag    bool            `json:"flag"`
	Pointer *string         `json:"pointer"`
	Figure  *float64        `json:"figure,omitzero"`
	Raw     json.RawMessage `json:"raw"`
	Value   jsontext.Value  `json:"value,omitzero"`
	Inner   innerKind       `json:"inner"`
	Maybe   *innerKind      `json:"maybe,omitzero"`
	List    []innerKind     `json:"list"`
	Any     any             `json:"any,omitzero"`
}

type innerKind struct {
	Name namedText `json:"name,omitzero"`
}

type namedText string

func TestAppendStruct(t *testing.T) {
	t.Parallel()
	text, figure := "a\"b\u2028<&>", 1e-9
	for _, v := range []everyKind{
		{},
		{
			Text: text, Int: math.MinInt64, Small: -3, Float: 1e21, Flag: true, Pointer: &text, Figure: &figure,
			Raw: json.RawMessage("{\"a\": [1.50, \"\\u0041\"]}"), Value: jsontext.Value(`[ ]`),
			Inner: innerKind{"x"}, Maybe: &innerKind{}, List: []innerKind{{"y"}, {}}, Any: &innerKind{"z"},
		},
		{Any: jsontext.Value(`{"a": 1}`), List: []innerKind{}},
		{Any: innerKind{"by value"}},
	} {
		want, err := jsonx.Marshal(v)
		require.NoError(t, err)
		got, err := AppendStruct([]byte("before"), &v)
		require.NoError(t, err)
		require.Equal(t, "before"+string(want), string(got))
	}
}

func TestAppendStructFails(t *testing.T) {
	t.Parallel()
	for name, v := range map[string]everyKind{
		"NaN":      {Float: math.NaN()},
		"infinite": {List: []innerKind{{}}, Any: &everyKind{Float: math.Inf(1)}},
		"raw":      {Raw: json.RawMessage(`"\`)},
	} {
		_, err := AppendStruct(nil, &v)
		require.Error(t, err, name)
	}
	require.Panics(t, func() {
		_, _ = AppendStruct(nil, &struct {
			M map[string]int `json:"m"`
		}{})
	})
	require.Panics(t, func() { _, _ = AppendStruct(nil, &struct{ Untagged int }{}) })
	require.Panics(t, func() {
		_, _ = AppendStruct(nil, &struct {
			N json.Number `json:"n,omitempty"`
		}{})
	})
}
