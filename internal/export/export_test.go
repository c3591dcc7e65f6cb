package export

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/text/encoding/unicode"
)

var columns = append(TimeColumns("start", "Start"), Column{"site_id", "Site"}, Column{"it_energy_kwh", "IT energy [kWh]"}, Column{"readings", "Readings"})

// written returns a table of one row for each of the texts.
func written(t testing.TB, format Format, value *float64, texts ...string) string {
	t.Helper()
	madrid, err := time.LoadLocation("Europe/Madrid")
	require.NoError(t, err)
	table := Table{Columns: columns, Zone: madrid}
	var out bytes.Buffer
	w := NewWriter(&out, format, &table, nil)
	for _, s := range texts {
		w.Times(time.Date(2026, 10, 25, 0, 30, 0, 0, time.UTC)) // 02:30 for the first time
		w.Text(s)
		w.Number(value)
		w.Int(7)
		require.NoError(t, w.EndRow())
	}
	require.NoError(t, w.Close())
	assert.Equal(t, len(texts), w.Rows())
	return out.String()
}

func TestCSVIsThatOfTheRFC(t *testing.T) {
	t.Parallel()
	x := -5.25
	assert.Equal(t, "start_utc,start_local,start_utc_offset_min,site_id,it_energy_kwh,readings\r\n"+
		"2026-10-25T00:30:00Z,2026-10-25T02:30:00,120,\"a,\"\"b\"\"\",-5.25,7\r\n", written(t, CSV, &x, `a,"b"`))
	assert.Equal(t, "start_utc,start_local,start_utc_offset_min,site_id,it_energy_kwh,readings\r\n", written(t, CSV, nil), "a table without rows has its header")
	assert.Contains(t, written(t, CSV, nil, "a"), ",a,,7\r\n", "no value is an empty cell, and never 0")
}

func TestExcelReadsDecimalCommas(t *testing.T) {
	t.Parallel()
	x := 1234.5
	assert.Equal(t, "\ufeffStart (UTC);Start (local);\"Start, UTC offset [min]\";Site;IT energy [kWh];Readings\r\n"+
		"2026-10-25 00:30:00;2026-10-25 02:30:00;120;ñ;1234,5;7\r\n", written(t, CSVExcel, &x, "ñ"))

	wide := written(t, CSVExcelTab, &x, "ñ", "tab\there")
	assert.Equal(t, "\xff\xfe", wide[:2])
	plain, err := unicode.UTF16(unicode.LittleEndian, unicode.ExpectBOM).NewDecoder().String(wide)
	require.NoError(t, err)
	assert.Equal(t, "Start (UTC)\tStart (local)\t\"Start, UTC offset [min]\"\tSite\tIT energy [kWh]\tReadings\r\n"+
		"2026-10-25 00:30:00\t2026-10-25 02:30:00\t120\tñ\t1234,5\t7\r\n"+
		"2026-10-25 00:30:00\t2026-10-25 02:30:00\t120\t\"tab\there\"\t1234,5\t7\r\n", plain)
}

func TestNDJSONHasNullForNoValue(t *testing.T) {
	t.Parallel()
	lines := strings.Split(written(t, NDJSON, nil, "=1+1", "\xff"), "\n")
	require.Len(t, lines, 3)
	var row map[string]any
	require.NoError(t, json.Unmarshal([]byte(lines[0]), &row))
	assert.Equal(t, map[string]any{
		"start_utc": "2026-10-25T00:30:00Z", "start_local": "2026-10-25T02:30:00", "start_utc_offset_min": 120.0,
		"site_id": "=1+1", "it_energy_kwh": nil, "readings": 7.0,
	}, row, "NDJSON needs no guard against formulas")
	require.NoError(t, json.Unmarshal([]byte(lines[1]), &row))
	assert.Equal(t, "\ufffd", row["site_id"])
}

func TestFormulasAreGuarded(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"=1+1", "+x", "-x", "@x", "\tx", "\rx", "  =1", "\u00a0=1", "＝1+1", "＋x", "－x", "＠x"} {
		assert.Equal(t, "'"+s, Guard(s), "%q", s)
		rows, err := csv.NewReader(strings.NewReader(written(t, CSV, nil, s))).ReadAll()
		require.NoError(t, err)
		assert.Equal(t, "'"+s, rows[1][3], "%q", s)
	}
	for _, s := range []string{"", " ", "oslo-1", "a=b", "1-2"} {
		assert.Equal(t, s, Guard(s))
	}
	assert.Contains(t, written(t, CSV, nil, "a;=1+1"), `"a;=1+1"`, "a program that expects semicolons must not find a cell that begins with a formula")
}

func TestNumbersKeepTheirDigits(t *testing.T) {
	t.Parallel()
	for x, want := range map[float64]string{
		0.1: "0.1", 1e20: "100000000000000000000", 1e21: "1e+21", 1e-7: "1e-07", 1.0 / 3: "0.3333333333333333", -0.5: "-0.5",
		math.NaN(): "", math.Inf(1): "",
	} {
		rows, err := csv.NewReader(strings.NewReader(written(t, CSV, &x, "a"))).ReadAll()
		require.NoError(t, err)
		assert.Equal(t, want, rows[1][4])
	}
}

func TestARowHasACellForEachColumn(t *testing.T) {
	t.Parallel()
	table := Table{Columns: []Column{{"a", "A"}, {"b", "B"}}, Zone: time.UTC}
	w := NewWriter(&bytes.Buffer{}, CSV, &table, nil)
	w.Int(1)
	require.ErrorContains(t, w.EndRow(), "a row has 1 cells, and the table has 2 columns")

	w = NewWriter(&bytes.Buffer{}, CSV, &table, nil)
	for range 3 {
		w.Int(1)
	}
	require.ErrorContains(t, w.EndRow(), "more cells")
	require.ErrorContains(t, w.Close(), "more cells", "the first error stays")
}

func TestRowsArePassedOnInSteps(t *testing.T) {
	t.Parallel()
	table := Table{Columns: []Column{{"a", "A"}}, Zone: time.UTC}
	stop := errors.New("the client is gone")
	steps := 0
	w := NewWriter(&bytes.Buffer{}, CSV, &table, func() error {
		if steps++; steps == 2 {
			return stop
		}
		return nil
	})
	var err error
	for err == nil {
		w.Int(1)
		err = w.EndRow()
	}
	require.ErrorIs(t, err, stop)
	assert.Equal(t, 2*stepRows, w.Rows())
}

func TestFileNamesAreSafe(t *testing.T) {
	t.Parallel()
	assert.Equal(t, "mass_trends_oslo-1_Europe-Oslo", FileName("mass", "trends", "oslo-1", "", "Europe/Oslo"))
	assert.Equal(t, "mass_---etc-passwd--", FileName("mass", "\"\n/etc/passwd\x00\"")[:len("mass_---etc-passwd--")])
}

func FuzzWriter(f *testing.F) {
	f.Add("=1+1", 1.5)
	f.Add("a\r\n\"b\";c\t", math.Inf(-1))
	f.Fuzz(func(t *testing.T, s string, x float64) {
		rows, err := csv.NewReader(strings.NewReader(written(t, CSV, &x, s, s))).ReadAll()
		require.NoError(t, err)
		require.Len(t, rows, 3)
		want := strings.ReplaceAll(Guard(s), "\r\n", "\n") // as encoding/csv reads it
		assert.Equal(t, want, rows[1][3])
		for line := range strings.Lines(written(t, NDJSON, &x, s)) {
			assert.True(t, json.Valid([]byte(line)), "%q", line)
		}
	})
}
