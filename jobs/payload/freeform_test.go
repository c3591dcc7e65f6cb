package payload

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/stretchr/testify/require"
)

func TestSnakeCase(t *testing.T) {
	t.Parallel()
	for key, want := range map[string]string{
		"it_load_kw":                "it_load_kw",
		"siteId":                    "site_id",
		"SiteID":                    "site_id",
		"HTTPServer":                "http_server",
		"serverHTTP":                "server_http",
		"p95RackInletC":             "p95_rack_inlet_c",
		"P95RackInletC":             "p95_rack_inlet_c",
		"carbonIntensityGco2PerKwh": "carbon_intensity_gco2_per_kwh",
		"estimatedImpact24h":        "estimated_impact24h",
		"HTTP2Server":               "http2_server",
		"IT Load (kW)":              "it_load_kw",
		"IT load [kWh]":             "it_load_kwh",
		"Carbon (gCO2/kWh)":         "carbon_gco2_kwh",
		"itLoadKW":                  "it_load_kw",
		"energyMWh":                 "energy_mwh",
		"facilityPowerKWh":          "facility_power_kwh",
		"perKWhPrice":               "per_kwh_price",
		"whoAmI":                    "who_am_i",
		"NSWWho":                    "nsw_who",
		"xCoordinate":               "x_coordinate",
		"it-load.kw":                "it_load_kw",
		"  it  load ":               "it_load",
		"__a__b__":                  "a_b",
		"_id":                       "id",
		"$schema":                   "schema",
		"@type":                     "type",
		"Temp (°C)":                 "temp_c",
		"fan%":                      "fan",
		"A":                         "a",
		"AB":                        "ab",
		"aB":                        "a_b",
		"123":                       "123",
		"Straße":                    "straße",
		"ТемператураВхода":          "температура_входа",
		"温度":                        "温度",
		"サーバー 温度":                   "サーバー_温度",
		"Cafe\u0301":                "café",
		"cafe\u0301Bar":             "café_bar",
		"J\u030c":                   "\u01f0", // composes only in lower case
		"a\u200db\u00ad":            "ab",
		"a𝐀":                        "a𝐀", // upper case without a lower case is no word boundary
		"İstanbul":                  "istanbul",
		"":                          "",
		" .-_()":                    "",
		"😀":                         "",
		"\u200b":                    "",
	} {
		got := SnakeCase(key)
		require.Equal(t, want, got, "%q", key)
		require.Equal(t, got, SnakeCase(got), "%q again", key)
	}
}

// someFields are the known fields of these tests.
var someFields = KnownFields{
	"it_load_kw": NumberField, "supply_temp_c": NumberField, "top_k": NumberField, "chiller_kw": NumberField, "fan_power_kw": NumberField,
	"queue_depth": NumberField, "no_pii": BooleanField, "no_control_actions": BooleanField, "prefer_lower_carbon": BooleanField,
	"missing_allowed": BooleanField,
}

func TestNormalizeFreeForm(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ raw, want string }{
		"empty":              {" { } ", `{}`},
		"keys at all depths": {`{"aB":{"cD":[{"eF":1},[{"gH":2}]]}}`, `{"a_b":{"c_d":[{"e_f":1},[{"g_h":2}]]}}`},
		"order":              {`{"z":1,"a":2,"M":3}`, `{"z":1,"a":2,"m":3}`},
		"strings":            {`{"a":" x ","b":["\u00a0y\u2003"],"c":"Cafe\u0301","d":"a  b"}`, `{"a":"x","b":["y"],"c":"Café","d":"a  b"}`},
		"escapes":            {`{"a":"\u00e9\/\u001f\"<"}`, `{"a":"é/\u001f\"<"}`},
		"numbers untouched":  {`{"a":1.50,"b":1e3,"c":12345678901234567890123,"d":-0,"e":1E+2}`, `{"a":1.50,"b":1e3,"c":12345678901234567890123,"d":-0,"e":1E+2}`},
		"literals":           {`{"a":true,"b":false,"c":null}`, `{"a":true,"b":false,"c":null}`},
		"unknown fields":     {`{"a":"1","b":"true","count":" 2 "}`, `{"a":"1","b":"true","count":"2"}`},
		"known numbers":      {`{"it_load_kw":" 812.50 ","IT Load (kW)2":"1","x":[{"topK":"3"}],"supplyTempC":"-1e3"}`, `{"it_load_kw":812.50,"it_load_kw_2":"1","x":[{"top_k":3}],"supply_temp_c":-1e3}`},
		"known, not numbers": {`{"top_k":"3x","chiller_kw":"","fan_power_kw":"NaN","queue_depth":"true","it_load_kw":"1e999"}`, `{"top_k":"3x","chiller_kw":"","fan_power_kw":"NaN","queue_depth":"true","it_load_kw":"1e999"}`},
		"known booleans":     {`{"noPii":" true ","no_control_actions":"false","prefer_lower_carbon":"True","missing_allowed":"1"}`, `{"no_pii":true,"no_control_actions":false,"prefer_lower_carbon":"True","missing_allowed":"1"}`},
		"arrays left alone":  {`{"it_load_kw":["1","2"],"top_k":{"x":"3"}}`, `{"it_load_kw":["1","2"],"top_k":{"x":"3"}}`},
		"same key elsewhere": {`{"a":{"b":1},"c":{"b":2}}`, `{"a":{"b":1},"c":{"b":2}}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, changed, faults := NormalizeFreeForm([]byte(test.raw), someFields)
			require.Empty(t, faults)
			require.Equal(t, test.want, string(got))
			require.Equal(t, !sameJSON(t, test.raw, test.want), changed)
			again, changed, faults := NormalizeFreeForm(got, someFields)
			require.Empty(t, faults)
			require.False(t, changed)
			require.Equal(t, test.want, string(again))
		})
	}
}

func TestNormalizeFreeFormRefuses(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		raw  string
		want Faults
	}{
		"clash": {`{"a_b":1,"x":{"c d":{},"cD":[{"e":1}],"f":2},"a-b":2}`, Faults{
			{"/x/cD", `becomes "c_d" in snake_case, like an earlier key of the same object`},
			{"/a-b", `becomes "a_b" in snake_case, like an earlier key of the same object`},
		}},
		"empty key": {`{"ok":{"~/":1}}`, Faults{{"/ok/~0~1", "has no letter or digit, so its name in snake_case would be empty"}}},
		"array":     {`[]`, Faults{{"", "must be a JSON object, got an array"}}},
		"more":      {`{} {}`, Faults{{"", "must be a single JSON object, but more data follows after byte 2"}}},
		"syntax":    {`{"a":tru}`, Faults{{"/a", "is not valid JSON at byte 8: invalid character '}' in literal true (expecting 'e')"}}},
		"amplified": {`{"a":[` + strings.Repeat(`{"top_k":"1e399"},`, DefaultMaxExpanded/400) + `{"top_k":"1e399"}]}`,
			Faults{{"", "has numbers of more than 4194304 digits in total when written out"}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, _, faults := NormalizeFreeForm([]byte(test.raw), someFields)
			require.Nil(t, got)
			require.Equal(t, test.want, faults)
		})
	}
}

// sameJSON reports whether two texts are the same value, including the spelling of
// its numbers.
func sameJSON(t *testing.T, a, b string) bool {
	t.Helper()
	x, y := jsontext.Value(a), jsontext.Value(b)
	require.NoError(t, x.Format(jsontext.ReorderRawObjects(true)))
	require.NoError(t, y.Format(jsontext.ReorderRawObjects(true)))
	return string(x) == string(y)
}

func FuzzNormalizeFreeForm(f *testing.F) {
	for _, seed := range []string{`{}`, `{"aB":" x ","it_load_kw":"1.5","no_pii":"true"}`, `{"a":[{"B C":1e3}]}`, `{"J̌":1}`,
		`{"a𝐀":"\u0344\u0301"}`, `{"ΩÅ":" Å"}`, `{"a b":1,"a_b":2}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		once, changed, faults := NormalizeFreeForm(raw, someFields)
		if len(faults) > 0 {
			require.Nil(t, once)
			return
		}
		require.True(t, json.Valid(once))
		require.True(t, changed || sameJSON(t, string(raw), string(once)))
		twice, changed, faults := NormalizeFreeForm(once, someFields)
		require.Empty(t, faults)
		require.False(t, changed)
		require.Equal(t, string(once), string(twice))
		if Check(raw, Limits{}) == nil {
			require.Empty(t, Check(once, Limits{}))
		}
	})
}

func FuzzSnakeCase(f *testing.F) {
	for _, seed := range []string{"IT Load (kW)", "HTTPServer", "J̌", "ΐΰ", "aͅ", "ʼN", "\u0344\u0301"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, key string) {
		once := SnakeCase(key)
		require.Equal(t, once, SnakeCase(once))
		require.False(t, strings.HasPrefix(once, "_") || strings.HasSuffix(once, "_") || strings.Contains(once, "__"), once)
	})
}
