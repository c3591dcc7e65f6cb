package export

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"golang.org/x/text/encoding/unicode"
)

// stepRows is the number of rows after which a Writer passes on what it holds.
const stepRows = 1000

// Writer writes the rows of a table. Each row has one call for every column, in
// their order, and then EndRow. The first error stays, and EndRow and Close
// report it.
type Writer struct {
	out     io.Writer
	format  Format
	columns []Column
	zone    *time.Location
	passOn  func() error
	buf     bytes.Buffer
	keys    []string // of NDJSON: what stands before each value
	cell    int
	rows    int
	err     error
}

// NewWriter returns a Writer that writes the header of a CSV at once. passOn is
// called whenever the Writer has written to out, about every thousand rows; it
// may flush out, and its error ends the export.
func NewWriter(out io.Writer, format Format, t *Table, passOn func() error) *Writer {
	w := &Writer{out: out, format: format, columns: t.Columns, zone: t.Zone, passOn: passOn}
	switch format {
	case NDJSON:
		for i, c := range t.Columns {
			key := `,"` + c.Name + `":`
			if i == 0 {
				key = "{" + key[1:]
			}
			w.keys = append(w.keys, key)
		}
		return w
	case CSVExcel:
		w.buf.WriteString("\ufeff")
	case CSVExcelTab:
		w.out = unicode.UTF16(unicode.LittleEndian, unicode.UseBOM).NewEncoder().Writer(out)
	}
	for _, c := range t.Columns {
		if format == CSV {
			w.Text(c.Name)
		} else {
			w.Text(c.Title)
		}
	}
	w.endLine()
	return w
}

// Rows returns the number of rows that were written.
func (w *Writer) Rows() int { return w.rows }

// next begins a cell.
func (w *Writer) next() {
	if w.cell >= len(w.columns) {
		w.fail(fmt.Errorf("a row has more cells than the table has columns"))
		return
	}
	switch {
	case w.format == NDJSON:
		w.buf.WriteString(w.keys[w.cell])
	case w.cell > 0:
		w.buf.WriteByte(w.separator())
	}
	w.cell++
}

func (w *Writer) fail(err error) {
	if w.err == nil {
		w.err = err
	}
}

func (w *Writer) separator() byte {
	switch w.format {
	case CSVExcel:
		return ';'
	case CSVExcelTab:
		return '\t'
	default:
		return ','
	}
}

// Text writes a text. In CSV it is guarded against being read as a formula.
func (w *Writer) Text(s string) {
	w.next()
	if w.format == NDJSON {
		quoted, err := jsontext.AppendQuote(w.buf.AvailableBuffer(), strings.ToValidUTF8(s, "\ufffd"))
		if err != nil {
			w.fail(err)
		}
		w.buf.Write(quoted)
		return
	}
	s = Guard(s)
	// Separators of other dialects are quoted as well: a program that expects them would split the cell there, behind the guard.
	if !strings.ContainsAny(s, "\",;\t\r\n|") && s == strings.TrimSpace(s) {
		w.buf.WriteString(s)
		return
	}
	w.buf.WriteByte('"')
	w.buf.WriteString(strings.ReplaceAll(s, `"`, `""`))
	w.buf.WriteByte('"')
}

// Empty writes a cell without a value.
func (w *Writer) Empty() {
	w.next()
	if w.format == NDJSON {
		w.buf.WriteString("null")
	}
}

// Number writes a number with all its digits, or an empty cell for nil and for
// what is no number.
func (w *Writer) Number(x *float64) {
	if x == nil {
		w.Empty()
		return
	}
	w.Float(*x)
}

// Float writes a number as Number does.
func (w *Writer) Float(x float64) {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		w.Empty()
		return
	}
	w.next()
	spelling := byte('f')
	if abs := math.Abs(x); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		spelling = 'e'
	}
	digits := strconv.AppendFloat(w.buf.AvailableBuffer(), x, spelling, -1, 64)
	if w.format == CSVExcel || w.format == CSVExcelTab {
		for i, c := range digits {
			if c == '.' {
				digits[i] = ','
			}
		}
	}
	w.buf.Write(digits)
}

// Int writes a whole number.
func (w *Writer) Int(n int64) {
	w.next()
	w.buf.Write(strconv.AppendInt(w.buf.AvailableBuffer(), n, 10))
}

// Times writes three cells: an instant in UTC, the same on the clock of the zone
// of the table, and the minutes by which that clock is ahead of UTC.
func (w *Writer) Times(at time.Time) {
	local := at.In(w.zone)
	_, offset := local.Zone()
	utc, clock := time.RFC3339Nano, "2006-01-02T15:04:05.999999"
	if w.format == CSVExcel || w.format == CSVExcelTab {
		utc, clock = "2006-01-02 15:04:05", "2006-01-02 15:04:05" // Excel reads no other form as a time
	}
	w.Text(at.UTC().Format(utc))
	w.Text(local.Format(clock))
	w.Int(int64(offset / 60))
}

// TimeColumns are the columns of Times.
func TimeColumns(name, title string) []Column {
	return []Column{
		{name + "_utc", title + " (UTC)"}, {name + "_local", title + " (local)"}, {name + "_utc_offset_min", title + ", UTC offset [min]"},
	}
}

// EndRow ends a row.
func (w *Writer) EndRow() error {
	if w.cell != len(w.columns) {
		w.fail(fmt.Errorf("a row has %d cells, and the table has %d columns", w.cell, len(w.columns)))
	}
	w.endLine()
	w.rows++
	if w.rows%stepRows == 0 {
		w.flush()
	}
	return w.err
}

func (w *Writer) endLine() {
	if w.format == NDJSON {
		w.buf.WriteString("}\n")
	} else {
		w.buf.WriteString("\r\n")
	}
	w.cell = 0
}

func (w *Writer) flush() {
	if w.err == nil {
		_, err := w.out.Write(w.buf.Bytes())
		if err != nil {
			err = fmt.Errorf("write a table: %w", err)
		} else if w.passOn != nil {
			err = w.passOn()
		}
		w.err = err
	}
	w.buf.Reset()
}

// Close writes what is left, and reports the first error.
func (w *Writer) Close() error {
	w.flush()
	return w.err
}
