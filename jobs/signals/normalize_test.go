package signals

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNormalize(t *testing.T) {
	t.Parallel()
	raw := edit(t, minimal, "/request/assets", `{"site_id":" Cafe\u0301\u2003","region":"  ","zone_id":null}`)
	raw = edit(t, string(raw), "/request/time_window", `{"start_utc":"2026-03-01T10:00:00.250+01:00","end_utc":"2026-03-01T11:00:00Z"}`)
	raw = edit(t, string(raw), "/request/signals/energy/it_load_kw", `" 1.50e2 "`)
	raw = edit(t, string(raw), "/request/constraints/hard/no_control_actions", `"true"`)
	raw = edit(t, string(raw), "/request/preferences", `{"objective_weights":{}}`)
	doc := decoded(t, raw)
	before := *doc

	normal, changed := Normalize(doc)
	require.True(t, changed)
	require.Equal(t, before, *doc, "the document given is not changed")
	encoded, err := json.Marshal(normal)
	require.NoError(t, err)
	require.Equal(t, `{"schema_version":"1.1","request":{"mode":"shadow",`+
		`"time_window":{"start_utc":"2026-03-01T09:00:00.250Z","end_utc":"2026-03-01T11:00:00Z"},`+
		`"assets":{"site_id":"Café"},`+
		`"signals":{"energy":{"it_load_kw":1.50e2,"facility_power_kw":150}},`+
		`"constraints":{"hard":{"no_control_actions":true}}}}`, string(encoded))
	again, changed := Normalize(normal)
	require.Equal(t, normal, again)
	require.False(t, changed)
}
