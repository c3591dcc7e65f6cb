package submit_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/internal/submit"
	"github.com/leomutto/pilot-in-a-box/jobs/signals"
)

// readAll returns all items, or those before the error.
func readAll(t testing.TB, text string, o submit.ReaderOptions) ([]submit.Item, error) {
	t.Helper()
	r, err := submit.NewReader(strings.NewReader(text), o)
	if err != nil {
		return nil, err
	}
	var list []submit.Item
	for {
		it, err := r.Next()
		if errors.Is(err, io.EOF) {
			return list, nil
		}
		if err != nil {
			return list, err
		}
		list = append(list, it)
	}
}

func TestFormatsAreGuessed(t *testing.T) {
	t.Parallel()
	const csv = "site_id,it_load_kw\noslo,5\n"
	for _, c := range []struct{ name, text, body string }{
		{"a.json", `[{"a":1}]`, `{"a":1}`},
		{"a.json", "\n \n" + `{"a":1}`, `{"a":1}`},
		{"a.ndjson", `{"a":1}`, `{"a":1}`},
		{"-", ` [ {"a":1} ] `, `{"a":1}`},
		{"-", strings.Repeat("\n", 1000) + `[{"a":1}]`, `{"a":1}`},
		{"-", "\ufeff{\"a\":1}\r\n", `{"a":1}`},
		{"a.csv", csv, ""},
		{"a.CSV", "\ufeff" + csv, ""},
		{"-", csv, ""},
	} {
		items, err := readAll(t, c.text, submit.ReaderOptions{Name: c.name})
		require.NoError(t, err, c.name)
		require.Len(t, items, 1, c.name)
		require.Empty(t, items[0].Fault)
		if c.body != "" {
			require.Equal(t, c.body, string(items[0].Body))
		} else {
			require.Contains(t, string(items[0].Body), `"it_load_kw":5`)
		}
	}
	_, err := readAll(t, "", submit.ReaderOptions{Format: "xml"})
	require.ErrorContains(t, err, "unknown format")
}

func TestLines(t *testing.T) {
	t.Parallel()
	text := strings.Join([]string{
		`{"payload":{}}`, ``, ` {"payload":{},"idempotency_key":"k"} ` + "\r", `nonsense`, `{"payload":`, `[1]`, `{} {}`, `{"a":1,"a":2}`,
		"{\"a\":\r1}", "{\"a\":\"\xff\"}", `{"a":` + strings.Repeat(`[`, 20_000), strings.Repeat("x", 17<<20), `{"last":1.50}`,
	}, "\n")
	items, err := readAll(t, text, submit.ReaderOptions{})
	require.NoError(t, err)
	type row struct {
		line  int
		fault string
	}
	want := []row{{1, ""}, {3, ""}, {4, "object"}, {5, "not valid JSON"}, {6, "object"}, {7, "more follows"}, {8, ""}, {9, ""}, {10, ""}, {11, "valid JSON"}, {12, "bytes"}, {13, ""}}
	require.Len(t, items, len(want))
	for i, it := range items {
		require.Equal(t, want[i].line, it.Line)
		require.Contains(t, it.Fault, want[i].fault)
		require.Equal(t, want[i].fault == "", it.Fault == "", it.Fault)
	}
	require.True(t, items[1].HasKey)
	require.False(t, items[0].HasKey)
	require.Equal(t, `{"a":1}`, string(items[7].Body), "one line")
	require.Equal(t, `{"last":1.50}`, string(items[11].Body))
}

func TestArrays(t *testing.T) {
	t.Parallel()
	items, err := readAll(t, "[\n{\"a\":1},\n\n  {\n\"b\": 1.50,\n\"c\":\"x\\ny\"}\n,17\n]\n", submit.ReaderOptions{})
	require.NoError(t, err)
	require.Len(t, items, 3)
	require.Equal(t, []int{2, 4, 7}, []int{items[0].Line, items[1].Line, items[2].Line})
	require.Equal(t, `{"b":1.50,"c":"x\ny"}`, string(items[1].Body))
	require.Contains(t, items[2].Fault, "object")

	for text, want := range map[string]string{
		"[{}\n,{]": "line 2", "[{}": "line 1", "[{}] x": "more follows", "[{}{}]": "line 1", `["` + strings.Repeat("x", 17<<20): "more than",
	} {
		_, err := readAll(t, text, submit.ReaderOptions{Format: submit.JSON})
		require.ErrorContains(t, err, want, text[:min(len(text), 50)])
	}
	_, err = readAll(t, `{}`, submit.ReaderOptions{Format: submit.JSON})
	require.ErrorContains(t, err, "must be a JSON array")
}

func TestColumns(t *testing.T) {
	t.Parallel()
	header := "site_id,request.signals.energy.it_load_kw, facility_power_kw ,start_utc,end_utc,no_control_actions,priority,batch_pct,correlation_id"
	record := `"oslo ""1""", 812.50 ,1e3,2026-03-01T10:00:00Z,2026-03-01T11:00:00Z,TRUE,high,,007`
	items, err := readAll(t, header+"\n"+record+"\n", submit.ReaderOptions{Format: submit.CSV})
	require.NoError(t, err)
	require.Len(t, items, 1)
	require.Equal(t, 2, items[0].Line)
	require.JSONEq(t, `{"priority":"high","payload":{"schema_version":"1.1","correlation_id":"007","request":{
	    "assets":{"site_id":"oslo \"1\""},"time_window":{"start_utc":"2026-03-01T10:00:00Z","end_utc":"2026-03-01T11:00:00Z"},
	    "signals":{"energy":{"it_load_kw":812.50,"facility_power_kw":1e3}},"constraints":{"hard":{"no_control_actions":true}}}}}`, string(items[0].Body))
	require.Contains(t, string(items[0].Body), `812.50`, "digits stay as they are")
	var body struct {
		Payload json.RawMessage `json:"payload"`
	}
	require.NoError(t, json.Unmarshal(items[0].Body, &body))
	_, faults := signals.Decode(body.Payload)
	require.Empty(t, faults)
}

func TestColumnsThatCannotBeMapped(t *testing.T) {
	t.Parallel()
	for header, want := range map[string][]string{
		"":                               {"is empty"},
		"site_id,IT Load KW,dew_point,":  {`"IT Load KW" is not a field`, "did you mean it_load_kw?", `"dew_point" is not a field`, "column 4 has no name"},
		"site_id,request.assets.site_id": {`"site_id" and "request.assets.site_id" are both request.assets.site_id`},
		"priority,priority":              {"both priority"},
		"signals.energy.it_load_kw":      {"is not a field"},
		"request":                        {"is not a field"},
		"\"a":                            {"header"},
	} {
		_, err := readAll(t, header+"\nx\n", submit.ReaderOptions{Format: submit.CSV})
		if header == "" {
			_, err = readAll(t, "", submit.ReaderOptions{Format: submit.CSV})
		}
		for _, part := range want {
			require.ErrorContains(t, err, part, header)
		}
	}
}

func TestRecordsThatCannotBeSent(t *testing.T) {
	t.Parallel()
	text := "site_id;it_load_kw\na;1\nb\nc;3;4\n\"d\ne\";5\nf;\"x\"y\n\xe5s;7\nh;8,5\n"
	items, err := readAll(t, text, submit.ReaderOptions{Format: submit.CSV, Comma: ';'})
	require.NoError(t, err)
	type row struct {
		line  int
		fault string
	}
	want := []row{{2, ""}, {3, "has 1 values, but the header has 2"}, {4, "has 3 values"}, {5, ""}, {7, "quote"}, {8, "UTF-8"}, {9, ""}}
	require.Len(t, items, len(want))
	for i, it := range items {
		require.Equal(t, want[i].line, it.Line)
		require.Contains(t, it.Fault, want[i].fault)
		require.Equal(t, want[i].fault == "", it.Fault == "", it.Fault)
	}
	require.Contains(t, string(items[6].Body), `"8,5"`, "what is no number is sent as it is: the API says so")

	_, err = readAll(t, "site_id\n\""+strings.Repeat("x\n", 9<<20), submit.ReaderOptions{Format: submit.CSV})
	require.ErrorContains(t, err, "quote")
}

func FuzzLines(f *testing.F) {
	f.Add("{\"a\":1}\n\n[1]\n{\"idempotency_key\":\"k\"}")
	f.Add("[{\"a\":\n1},2]")
	f.Fuzz(func(t *testing.T, text string) {
		for _, format := range []submit.Format{submit.NDJSON, submit.JSON, submit.Auto} {
			items, _ := readAll(t, text, submit.ReaderOptions{Format: format})
			checkItems(t, items, text)
		}
	})
}

func FuzzCSV(f *testing.F) {
	f.Add("oslo,5,true\n")
	f.Add("\"a\nb\",1e999,\xff\n,,\n\"")
	f.Fuzz(func(t *testing.T, text string) {
		items, _ := readAll(t, "site_id,it_load_kw,no_control_actions\n"+text, submit.ReaderOptions{Format: submit.CSV})
		checkItems(t, items, text)
	})
}

// checkItems holds what every reader promises: lines in order, and sendable
// items that are one line of JSON.
func checkItems(t *testing.T, items []submit.Item, text string) {
	t.Helper()
	line := 0
	for _, it := range items {
		require.GreaterOrEqual(t, it.Line, max(1, line))
		require.LessOrEqual(t, it.Line, strings.Count(text, "\n")+2)
		line = it.Line
		if it.Fault == "" {
			require.True(t, json.Valid(it.Body), "%q", it.Body)
			require.Equal(t, byte('{'), it.Body[0])
			require.False(t, bytes.ContainsAny(it.Body, "\r\n"))
		}
	}
}
