package submit

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// maxItem limits the memory that one item of a broken input can take, in bytes.
// The API's own limit is lower.
const maxItem = 16 << 20

// Item is one submission of the input.
type Item struct {
	Line   int    // where it begins, from 1
	Body   []byte // a JSON object in one line; with a Fault, the text of the input
	HasKey bool   // it has its own idempotency_key
	Fault  string // why it cannot be sent; "" when it can
}

// Reader returns the items of an input, and io.EOF after the last one. After
// any other error, nothing more can be read.
type Reader interface {
	Next() (Item, error)
}

// Format is the format of an input.
type Format string

// The formats. Auto decides by the name of the file and its first character.
const (
	Auto   Format = "auto"
	NDJSON Format = "ndjson"
	JSON   Format = "json"
	CSV    Format = "csv"
)

// ReaderOptions tell how to read an input.
type ReaderOptions struct {
	Name   string // of the file, for Auto
	Format Format // "" is Auto
	Comma  rune   // between the columns of a CSV; ','
}

// NewReader returns a reader of an input. For CSV it reads the header, and
// returns an error if that is wrong.
func NewReader(in io.Reader, o ReaderOptions) (Reader, error) {
	buffered := bufio.NewReaderSize(in, 64<<10)
	if start, _ := buffered.Peek(3); string(start) == "\ufeff" { // some programs begin files with it
		_, _ = buffered.Discard(3)
	}
	format := o.Format
	if format == "" || format == Auto {
		format = guess(buffered, o.Name)
	}
	switch format {
	case NDJSON:
		return &lineReader{in: buffered}, nil
	case JSON:
		return newArrayReader(buffered), nil
	case CSV:
		return newCSVReader(buffered, o.Comma)
	default:
		return nil, fmt.Errorf("unknown format %q: want %s, %s, %s or %s", o.Format, Auto, NDJSON, JSON, CSV)
	}
}

// guess decides by the name, and for JSON by the first character, because a
// .json file may contain NDJSON.
func guess(in *bufio.Reader, name string) Format {
	if strings.EqualFold(filepath.Ext(name), ".csv") {
		return CSV
	}
	for n := 64; n <= in.Size(); n *= 2 {
		start, err := in.Peek(n)
		switch rest := bytes.TrimLeft(start, " \t\r\n"); {
		case len(rest) > 0 && rest[0] == '[':
			return JSON
		case len(rest) > 0 && rest[0] == '{':
			return NDJSON
		case len(rest) > 0 && !strings.Contains(filepath.Ext(name), "json"):
			return CSV
		case len(rest) > 0 || err != nil:
			return NDJSON
		}
	}
	return NDJSON
}

// lineReader reads NDJSON. It skips blank lines.
type lineReader struct {
	in   *bufio.Reader
	line int
}

// Next implements Reader.
func (r *lineReader) Next() (Item, error) {
	for {
		text, tooLong, err := r.read()
		if errors.Is(err, io.EOF) && len(text) == 0 {
			return Item{}, io.EOF
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return Item{}, fmt.Errorf("read line %d: %w", r.line, err)
		}
		text = bytes.TrimSpace(text)
		switch {
		case tooLong:
			return Item{Line: r.line, Body: text[:min(len(text), 100)], Fault: fmt.Sprintf("the line has more than %d bytes", maxItem)}, nil
		case len(text) > 0:
			return checked(r.line, text), nil
		}
	}
}

// read returns the next line. Of a line that is too long it returns the
// beginning.
func (r *lineReader) read() (text []byte, tooLong bool, err error) {
	r.line++
	for {
		piece, err := r.in.ReadSlice('\n')
		if len(text)+len(piece) > maxItem {
			tooLong = true
		} else {
			text = append(text, piece...)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return text, tooLong, err
		}
	}
}

// checked makes sure that the text is one JSON object. Otherwise the API could
// not separate the items, or would refuse all of them. The API checks the rest.
func checked(line int, text []byte) Item {
	it := Item{Line: line, Body: text}
	dec := jsontext.NewDecoder(bytes.NewBuffer(text), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	if dec.PeekKind() != jsontext.KindBeginObject {
		it.Fault = "it must be a JSON object"
		return it
	}
	fail := func(err error) Item {
		it.Fault = "it is not valid JSON: " + strings.TrimPrefix(err.Error(), "jsontext: ")
		return it
	}
	if _, err := dec.ReadToken(); err != nil {
		return fail(err)
	}
	for dec.PeekKind() != jsontext.KindEndObject {
		name, err := dec.ReadToken()
		if err != nil {
			return fail(err)
		}
		it.HasKey = it.HasKey || name.String() == "idempotency_key"
		if err := dec.SkipValue(); err != nil {
			return fail(err)
		}
	}
	if _, err := dec.ReadToken(); err != nil {
		return fail(err)
	}
	if _, err := dec.ReadToken(); !errors.Is(err, io.EOF) {
		it.Fault = "it must be one JSON object, but more follows it"
	} else if bytes.IndexByte(text, '\n') >= 0 || bytes.IndexByte(text, '\r') >= 0 {
		value := jsontext.Value(text)
		if err := value.Compact(); err != nil {
			return fail(err)
		}
		it.Body = value
	}
	return it
}

// arrayReader reads the elements of a JSON array, one at a time.
type arrayReader struct {
	dec    *jsontext.Decoder
	in     *budget
	lines  *lineCounter
	inside bool
}

func newArrayReader(in io.Reader) *arrayReader {
	b := &budget{in: in, left: maxItem}
	lines := &lineCounter{in: b, line: 1}
	return &arrayReader{
		in: b, lines: lines,
		dec: jsontext.NewDecoder(lines, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)),
	}
}

// Next implements Reader.
func (r *arrayReader) Next() (Item, error) {
	r.in.left = maxItem
	if !r.inside {
		token, err := r.dec.ReadToken()
		if err != nil {
			return Item{}, r.fail(err)
		}
		if token.Kind() != jsontext.KindBeginArray {
			return Item{}, errors.New("the input must be a JSON array")
		}
		r.inside = true
	}
	switch kind := r.dec.PeekKind(); kind {
	case jsontext.KindEndArray:
		if _, err := r.dec.ReadToken(); err != nil {
			return Item{}, r.fail(err)
		}
		if _, err := r.dec.ReadToken(); !errors.Is(err, io.EOF) {
			return Item{}, fmt.Errorf("line %d: more follows the array", r.lines.at(r.dec.InputOffset()))
		}
		return Item{}, io.EOF
	default:
		value, err := r.dec.ReadValue()
		if err != nil {
			return Item{}, r.fail(err)
		}
		line := r.lines.at(r.dec.InputOffset() - int64(len(value)))
		return checked(line, bytes.Clone(value)), nil
	}
}

// fail says where an array is broken: nothing after that place can be read.
func (r *arrayReader) fail(err error) error {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	offset := r.dec.InputOffset()
	var syntax *jsontext.SyntacticError
	if errors.As(err, &syntax) {
		offset = syntax.ByteOffset
	}
	return fmt.Errorf("line %d: the array cannot be read: %w", r.lines.at(offset), err)
}

// lineCounter finds the line of a byte. It forgets the lines before the one
// that it found last.
type lineCounter struct {
	in   io.Reader
	read int64
	line int     // of the first byte not passed yet
	ends []int64 // offsets after the line ends from there on
}

func (c *lineCounter) Read(p []byte) (int, error) {
	n, err := c.in.Read(p)
	for i, b := range p[:n] {
		if b == '\n' {
			c.ends = append(c.ends, c.read+int64(i)+1)
		}
	}
	c.read += int64(n)
	return n, err
}

func (c *lineCounter) at(offset int64) int {
	passed := 0
	for passed < len(c.ends) && c.ends[passed] <= offset {
		passed++
	}
	c.line += passed
	c.ends = append(c.ends[:0], c.ends[passed:]...)
	return c.line
}

// budget stops reading an input in which an item is too long.
type budget struct {
	in   io.Reader
	left int // bytes that may be read for the current item
}

func (b *budget) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, fmt.Errorf("an item has more than %d bytes; is a quote or a bracket missing?", maxItem)
	}
	n, err := b.in.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

// validText reports whether all values are UTF-8.
func validText(values []string) bool {
	for _, v := range values {
		if !utf8.ValidString(v) {
			return false
		}
	}
	return true
}
