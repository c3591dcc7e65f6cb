// Package export writes tables in the formats that programs and spreadsheets
// read: CSV in three dialects, and NDJSON. A table is written row by row, so
// that its length does not matter. The package knows neither what the rows are
// about nor who gets them.
package export

import (
	"context"
	"strings"
	"time"
	"unicode/utf8"
)

// Format is the format of a written table.
type Format string

// The formats.
const (
	// CSV is RFC 4180: commas, CRLF, UTF-8 without a byte order mark, decimal
	// points, RFC 3339 times in UTC, and the names of the columns as the header.
	CSV Format = "csv"
	// CSVExcel is what Excel opens by a double click where decimals have a comma:
	// a byte order mark, semicolons, decimal commas, and titles as the header.
	CSVExcel Format = "excel"
	// CSVExcelTab is what every Excel opens, whatever its list separator: UTF-16
	// with a byte order mark, tabs, decimal commas, and titles as the header.
	CSVExcelTab Format = "excel-tab"
	// NDJSON is one JSON object per row, with null for an empty cell.
	NDJSON Format = "ndjson"
)

// MediaType returns the media type of a format.
func (f Format) MediaType() string {
	switch f {
	case NDJSON:
		return "application/x-ndjson"
	case CSVExcelTab:
		return "text/csv; charset=utf-16; header=present"
	default:
		return "text/csv; charset=utf-8; header=present"
	}
}

// Extension returns how the names of files of a format end, without the dot.
func (f Format) Extension() string {
	if f == NDJSON {
		return "ndjson"
	}
	return "csv"
}

// Column is one column of a table.
type Column struct {
	Name  string // of CSV and NDJSON: English, in snake_case, with the unit
	Title string // of the dialects for Excel
}

// Table is a table that can be written.
type Table struct {
	Name    string // of the file, without extension
	Columns []Column
	Zone    *time.Location // of local times
	// Rows writes all rows. The context is that of the whole export.
	Rows func(ctx context.Context, w *Writer) error
}

// FileName returns the parts of a file name, joined by underscores. Characters
// that a file system may refuse become hyphens.
func FileName(parts ...string) string {
	clean := func(r rune) rune {
		switch {
		case r >= '0' && r <= '9', r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r == '.', r == '-', r == '+':
			return r
		default:
			return '-'
		}
	}
	var list []string
	for _, part := range parts {
		if part != "" {
			list = append(list, strings.Map(clean, part))
		}
	}
	return strings.Join(list, "_")
}

// Guard keeps spreadsheets from executing text as a formula (OWASP, CSV
// injection): text that begins like a formula, also behind spaces, gets an
// apostrophe before it. Numbers must not be guarded.
func Guard(text string) string {
	first, _ := utf8.DecodeRuneInString(strings.TrimLeft(text, " \u00a0\u3000"))
	if strings.ContainsRune("=+-@\t\r\n＝＋－＠", first) {
		return "'" + text
	}
	return text
}
