package api

import (
	"bytes"
	stdjson "encoding/json"
	"io"
	"reflect"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/internal/web"
	"github.com/leomutto/pilot-in-a-box/jobs/signals"
)

// sameAsMarshal compares an appended answer with that of the encoder. Payloads must
// be as they are; the encoder would change their white space and escapes, so it
// gets a mark in place of each.
func sameAsMarshal(t *testing.T, v any) {
	t.Helper()
	mark := stdjson.RawMessage(`"the payload"`)
	var payloads []stdjson.RawMessage
	marked := func(m MassRequest) MassRequest {
		payloads = append(payloads, m.Payload)
		m.Payload = mark
		return m
	}
	plain := v
	switch v := v.(type) {
	case MassRequest:
		plain = marked(v)
	case MassRequestList:
		list := MassRequestList{Items: make([]MassRequest, len(v.Items)), Next: v.Next}
		for i, m := range v.Items {
			list.Items[i] = marked(m)
		}
		plain = list
	}
	want, err := json.Marshal(plain)
	require.NoError(t, err)
	for _, p := range payloads {
		if p == nil {
			p = []byte("null")
		}
		want = bytes.Replace(want, mark, p, 1)
	}
	for range 2 { // in new memory, and in memory used before
		var got bytes.Buffer
		if page, ok := v.(MassRequestList); ok {
			require.NoError(t, page.write(&got))
		} else {
			require.NoError(t, web.Encode(&got, v))
		}
		require.Equal(t, string(want), got.String())
	}
}

func TestAppendMassRequest(t *testing.T) {
	t.Parallel()
	sameAsMarshal(t, MassRequest{})
	sameAsMarshal(t, MassRequestList{Items: []MassRequest{}})
	sameAsMarshal(t, MassRequestList{Items: []MassRequest{}, Next: new("")})
	sameAsMarshal(t, exampleRequest())
	raws := []string{
		`null`, `{}`, `[]`, `{"a":"b c"}`, ` { "a" : [ 1.50 , -2e+3 , " \n" ] , "\u0041" : "\/\u00e9\"" } `, "{\n\t\"é\":\r1}",
		`[{"pointer":"/a","detail":"must be < 3 & > 1"}]`, string(signals.Example()),
	}
	texts := []string{"", "x", `"\`, "<&>", "é\u2028", "\x00\x1f\x7f"}
	var all []MassRequest
	for i := range 3 * len(raws) * len(texts) {
		var m MassRequest
		v := reflect.ValueOf(&m).Elem()
		for n := range v.NumField() {
			raw, text := raws[(i+n)%len(raws)], texts[(i/2+n)%len(texts)]
			switch field := v.Field(n); field.Interface().(type) {
			case stdjson.RawMessage:
				if (i+n)%5 > 0 {
					field.SetBytes([]byte(raw))
				}
			case *string:
				if (i+n)%3 > 0 {
					field.Set(reflect.ValueOf(&text))
				}
			case int, int64:
				field.SetInt(int64(i-n) * 1_000_003)
			default:
				field.SetString(text)
			}
		}
		sameAsMarshal(t, m)
		all = append(all, m)
	}
	sameAsMarshal(t, MassRequestList{Items: all, Next: new("/mass-requests/?a=1&b=2")})
}

func TestFormatTime(t *testing.T) {
	t.Parallel()
	for _, at := range []time.Time{
		{}, time.Unix(0, 0), time.Date(2026, 3, 1, 11, 0, 2, 500_000_999, time.FixedZone("", 3600)), time.Unix(1, 999_999_999),
		time.Date(1969, 12, 31, 23, 59, 59, 1_000, time.UTC), time.Date(9999, 12, 31, 23, 59, 59, 999_999_999, time.UTC), time.UnixMicro(10),
	} {
		require.Equal(t, at.UTC().Format("2006-01-02T15:04:05.000000Z"), formatTime(at))
	}
}

// BenchmarkAnswer is the encoding of the answer to a POST.
func BenchmarkAnswer(b *testing.B) {
	m := exampleRequest()
	require.NoError(b, (*jsontext.Value)(&m.Payload).Compact())
	m.Result = nil
	b.ReportAllocs()
	for b.Loop() {
		if err := web.Encode(io.Discard, m); err != nil {
			b.Fatal(err)
		}
	}
}
