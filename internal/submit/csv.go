package submit

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/leomutto/pilot-in-a-box/jobs/payload"
	"github.com/leomutto/pilot-in-a-box/jobs/signals"
)

// columnPriority is the only column that is not a field of the payload.
const columnPriority = "priority"

// csvReader makes a submission with signals from each record.
type csvReader struct {
	in      *csv.Reader
	budget  *budget
	columns []column
}

// column says where the values of a column go.
type column struct {
	path     []string // from the payload's root; nil for the submission's priority
	kind     signals.FieldType
	priority bool
}

func newCSVReader(in io.Reader, comma rune) (*csvReader, error) {
	if comma == 0 {
		comma = ','
	}
	b := &budget{in: in, left: maxItem}
	r := &csvReader{in: csv.NewReader(b), budget: b}
	r.in.Comma = comma
	header, err := r.in.Read()
	if errors.Is(err, io.EOF) {
		return nil, errors.New("the CSV is empty: its first row must name the columns")
	}
	if err != nil {
		return nil, fmt.Errorf("read the CSV's header: %w", err)
	}
	r.columns, err = mapColumns(header, signals.Fields())
	return r, err
}

// mapColumns finds the field of each column, and reports all mistakes together.
func mapColumns(header []string, fields []signals.Field) ([]column, error) {
	byName := map[string][]signals.Field{}
	for _, f := range fields {
		path, leaf := strings.Join(f.Path, "."), f.Path[len(f.Path)-1]
		byName[path] = append(byName[path], f)
		if leaf != path {
			byName[leaf] = append(byName[leaf], f)
		}
	}
	var errs []error
	columns := make([]column, len(header))
	taken := map[string]string{}
	for i, name := range header {
		name = strings.TrimSpace(name)
		found := byName[name]
		target := columnPriority
		switch {
		case name == "":
			errs = append(errs, fmt.Errorf("column %d has no name", i+1))
			continue
		case name == columnPriority:
			columns[i] = column{priority: true}
		case len(found) == 0:
			errs = append(errs, fmt.Errorf("column %q is not a field of a signals payload%s", name, closest(name, fields)))
			continue
		case len(found) > 1:
			errs = append(errs, fmt.Errorf("column %q is ambiguous (%s): use the whole path", name, pathsOf(found)))
			continue
		default:
			columns[i] = column{path: found[0].Path, kind: found[0].Type}
			target = strings.Join(found[0].Path, ".")
		}
		if other, ok := taken[target]; ok {
			errs = append(errs, fmt.Errorf("columns %q and %q are both %s", other, name, target))
		}
		taken[target] = name
	}
	return columns, errors.Join(errs...)
}

func pathsOf(fields []signals.Field) string {
	var list []string
	for _, f := range fields {
		list = append(list, strings.Join(f.Path, "."))
	}
	return strings.Join(list, " or ")
}

// closest suggests a field that differs only in case or separators.
func closest(name string, fields []signals.Field) string {
	plain := func(s string) string {
		return strings.ToLower(strings.NewReplacer("_", "", "-", "", " ", "").Replace(s))
	}
	i := slices.IndexFunc(fields, func(f signals.Field) bool {
		return plain(f.Path[len(f.Path)-1]) == plain(name) || plain(strings.Join(f.Path, ".")) == plain(name)
	})
	if i < 0 {
		return ""
	}
	return "; did you mean " + fields[i].Path[len(fields[i].Path)-1] + "?"
}

// Next implements Reader.
func (r *csvReader) Next() (Item, error) {
	r.budget.left = maxItem
	record, err := r.in.Read()
	var wrong *csv.ParseError
	switch {
	case errors.Is(err, io.EOF):
		return Item{}, io.EOF
	case errors.As(err, &wrong):
		return Item{Line: wrong.StartLine, Body: []byte(strings.Join(record, string(r.in.Comma))), Fault: r.explain(wrong, record)}, nil
	case err != nil:
		return Item{}, fmt.Errorf("read the CSV: %w", err)
	}
	line, _ := r.in.FieldPos(0)
	if !validText(record) {
		return Item{Line: line, Body: []byte(strings.ToValidUTF8(strings.Join(record, string(r.in.Comma)), "\ufffd")), Fault: "the record is not UTF-8"}, nil
	}
	body, err := r.submission(record)
	if err != nil {
		return Item{}, fmt.Errorf("line %d: make a submission from the record: %w", line, err)
	}
	return Item{Line: line, Body: body}, nil
}

func (r *csvReader) explain(wrong *csv.ParseError, record []string) string {
	if errors.Is(wrong.Err, csv.ErrFieldCount) {
		return fmt.Sprintf("the record has %d values, but the header has %d", len(record), len(r.columns))
	}
	return fmt.Sprintf("the record cannot be read: line %d, column %d: %v", wrong.Line, wrong.Column, wrong.Err)
}

// submission builds the JSON of a record. Empty cells are left out. A value
// that does not have its field's type stays a string, and the API reports the
// mistake.
func (r *csvReader) submission(record []string) ([]byte, error) {
	doc := map[string]any{"schema_version": signals.Version}
	out := map[string]any{"payload": doc}
	for i, cell := range record {
		c := r.columns[i]
		switch {
		case strings.TrimSpace(cell) == "":
		case c.priority:
			out[columnPriority] = cell
		default:
			object := doc
			for _, name := range c.path[:len(c.path)-1] {
				inner, ok := object[name].(map[string]any)
				if !ok {
					inner = map[string]any{}
					object[name] = inner
				}
				object = inner
			}
			object[c.path[len(c.path)-1]] = typed(cell, c.kind)
		}
	}
	return json.Marshal(out)
}

// typed converts a cell to its field's type if it has that form.
func typed(cell string, kind signals.FieldType) any {
	switch kind {
	case signals.TypeNumber:
		if literal, ok := payload.ParseNumber(cell); ok {
			return json.RawMessage(literal)
		}
	case signals.TypeBoolean: // spreadsheets write them in capitals
		switch strings.ToLower(strings.TrimSpace(cell)) {
		case "true":
			return true
		case "false":
			return false
		}
	}
	return cell
}
