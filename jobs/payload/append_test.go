package payload_test

import (
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/jobs/payload"
)

func TestAppendString(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "x", " ~", `"`, `\`, "/", "\x00", "\x1f", "\n", "\x7f", "é", "\u2028", "<&>", "a\"é\\", strings.Repeat("x", 999)} {
		want, err := json.Marshal(text)
		require.NoError(t, err)
		require.Equal(t, "-"+string(want), string(payload.AppendString([]byte("-"), text)))
	}
}

func FuzzAppendCompact(f *testing.F) {
	for _, raw := range []string{
		`{}`, ` [ ] `, `{ "a b" : [ 1 , 2.50e+3 , -0 ] , "c" : " \u0041\/\"\n " }`, "\n\"x y\"\t", `" "`, `{"":""," ":" "}`, `tru`, `"é"`,
		`[null, true , false]`, `"\ud83d\ude00\u00e9\u2028\u0000\u007f"`, `[[ [ ] ]]`, `{"a":1,"a":2}`, "\"\xff\"",
	} {
		f.Add([]byte(raw))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if !jsontext.Value(raw).IsValid() {
			return
		}
		before := string(raw)
		want, err := json.Marshal(jsontext.Value(raw))
		require.NoError(t, err)
		got, err := payload.AppendCompact([]byte("-"), raw)
		require.NoError(t, err)
		require.Equal(t, "-"+string(want), string(got))
		require.Equal(t, before, string(raw))
	})
}
