package trail

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/internal/export"
	"github.com/leomutto/pilot-in-a-box/store"
)

func event(detail string) store.AuditEvent {
	return store.AuditEvent{
		Event:       store.Event{ID: 7, At: time.Date(2026, 3, 1, 12, 0, 0, 5000, time.FixedZone("", 3600)), Action: "fail", Actor: "worker:3", RequestID: 42, Detail: detail},
		InputDigest: []byte{0xab, 0xcd}, SourceID: 2,
	}
}

func write(t testing.TB, format string, events ...store.AuditEvent) string {
	t.Helper()
	var out bytes.Buffer
	w := NewWriter(&out, format)
	require.NoError(t, w.Write(events))
	require.NoError(t, w.Flush())
	return out.String()
}

func TestCSVNamesEveryMemberOfTheJSON(t *testing.T) {
	t.Parallel()
	shape := reflect.TypeFor[AuditEvent]()
	require.Len(t, columns, shape.NumField())
	for i, name := range columns {
		assert.Equal(t, shape.Field(i).Tag.Get("json"), name)
	}
	assert.Equal(t, strings.Join(columns, ",")+"\n", write(t, CSV), "also when there is nothing")
	assert.Empty(t, write(t, NDJSON))

	list, err := csv.NewReader(strings.NewReader(write(t, CSV, event("a,\"b\"\nc")))).ReadAll()
	require.NoError(t, err)
	require.Len(t, list, 2)
	assert.Equal(t, []string{
		"7", "2026-03-01T11:00:00.000005Z", "fail", "worker:3", "42", "", "", "", "", "a,\"b\"\nc", "", "", "", "", "abcd", "", "", "", "2", "", "", "",
	}, list[1])
}

// FuzzFormulas: whatever an event says, it comes out of both forms, and no cell of the CSV is a formula.
func FuzzFormulas(f *testing.F) {
	for _, seed := range []string{"", "=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "plain", "'=1", "\"=1\"", "ä\n=1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, detail string) {
		detail = strings.ToValidUTF8(detail, "?") // as Postgres keeps it
		list, err := csv.NewReader(strings.NewReader(write(t, CSV, event(detail)))).ReadAll()
		require.NoError(t, err)
		require.Len(t, list, 2)
		for _, cell := range list[1] {
			require.False(t, cell != "" && strings.ContainsAny(cell[:1], "=+-@\t\r"), cell)
		}
		if !strings.Contains(detail, "\r") { // a reader of CSV takes \r\n for \n
			require.Equal(t, export.Guard(detail), list[1][9])
		}
		var back AuditEvent
		line := write(t, NDJSON, event(detail))
		require.Equal(t, 1, strings.Count(line, "\n"))
		require.NoError(t, json.Unmarshal([]byte(line), &back))
		require.Equal(t, detail, text(back.Detail))
	})
}
