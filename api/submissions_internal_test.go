package api

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

// Whatever stands in an item: what is left of it is JSON when the item was, without the member.
func FuzzCutKey(f *testing.F) {
	for _, s := range []string{`{"idempotency_key":"k"}`, `{ "a":1 , "idempotency_key" : null ,"b":2}`, `{"idempotency_key":"k" , "a":1}`, `[`, `{"a":`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		rest, _, _ := cutKey(raw)
		var before, after map[string]any
		if json.Unmarshal(raw, &before) != nil {
			return
		}
		require.NoError(t, json.Unmarshal(rest, &after), "%q became %q", raw, rest)
		again, _, _ := cutKey(rest)
		if len(again) == len(rest) { // it was given once
			delete(before, memberKey)
			require.Equal(t, before, after)
		}
	})
}
