package api

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/leomutto/pilot-in-a-box/jobs/payload"
	"github.com/leomutto/pilot-in-a-box/store"
)

const ndjsonMediaType = "application/x-ndjson"

// slowestSender is how many bytes a second a body must bring on the average,
// beyond the time that every request has.
const slowestSender = 16 << 10

// batchSource gives the items of a batch, one after the other, and io.EOF at
// their end. An itemError is about one item; any other error ends the batch.
type batchSource interface {
	next() ([]byte, error)
}

// itemError is an item that cannot be read, while those behind it can.
type itemError struct{ problem *Problem }

func (e *itemError) Error() string { return e.problem.Error() }

func itemTooLarge(most int64) *itemError {
	return &itemError{&Problem{
		Status: http.StatusRequestEntityTooLarge, Code: codeTooLarge,
		Detail: fmt.Sprintf("An item may have at most %d bytes.", most),
	}}
}

// arraySource holds the elements of an array, as parts of the body.
type arraySource struct {
	elements [][]byte
	maxItem  int64
}

// newArraySource looks at the syntax of the whole array. What an element says is
// judged later: a wrong one is refused by itself.
func newArraySource(body []byte, maxItem int64) (*arraySource, error) {
	dec := lenient(body)
	defer payload.Release(dec)
	if kind := dec.PeekKind(); kind != jsontext.KindBeginArray {
		if err := dec.SkipValue(); err != nil {
			return nil, malformedArray(err)
		}
		if err := endOfBody(dec); err != nil {
			return nil, err
		}
		return nil, invalidBody(payload.Faults{{Detail: "must be an array of submissions, got " + payload.KindName(kind)}})
	}
	if _, err := dec.ReadToken(); err != nil {
		return nil, malformedArray(err)
	}
	a := &arraySource{maxItem: maxItem}
	for dec.PeekKind() != jsontext.KindEndArray {
		value, err := dec.ReadValue()
		if err != nil {
			return nil, malformedArray(err)
		}
		if len(a.elements) == batchItems {
			return nil, tooManyItems()
		}
		a.elements = append(a.elements, part(body, dec, value))
	}
	if _, err := dec.ReadToken(); err != nil {
		return nil, malformedArray(err)
	}
	return a, endOfBody(dec)
}

func malformedArray(err error) error {
	if errors.Is(err, io.EOF) {
		return &Problem{Status: http.StatusBadRequest, Code: codeInvalidJSON, Detail: "The body is empty; it must be a JSON array of submissions."}
	}
	return malformed(err)
}

func (a *arraySource) next() ([]byte, error) {
	if len(a.elements) == 0 {
		return nil, io.EOF
	}
	element := a.elements[0]
	a.elements = a.elements[1:]
	if int64(len(element)) > a.maxItem {
		return nil, itemTooLarge(a.maxItem)
	}
	return element, nil
}

// lineSource reads NDJSON. Blank lines are no items.
type lineSource struct {
	in      *bufio.Reader
	maxItem int64
}

func newLineSource(body io.Reader, maxItem int64) *lineSource {
	return &lineSource{in: bufio.NewReaderSize(body, 64<<10), maxItem: maxItem}
}

func (l *lineSource) next() ([]byte, error) {
	for {
		line, err := l.line()
		if line = bytes.TrimSpace(line); len(line) > 0 || err != nil {
			return line, err
		}
	}
}

// line returns the next line in memory of its own. A line that is too long is
// read to its end and not kept. A last line counts only if the body ended as it should.
func (l *lineSource) line() ([]byte, error) {
	var line []byte
	tooLong := false
	for {
		piece, err := l.in.ReadSlice('\n')
		tooLong = tooLong || int64(len(line)+len(bytes.TrimRight(piece, "\r\n"))) > l.maxItem
		if !tooLong {
			line = append(line, piece...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case err != nil && (!errors.Is(err, io.EOF) || len(line) == 0 && !tooLong):
			return nil, bodyError(err)
		case tooLong:
			return nil, itemTooLarge(l.maxItem)
		}
		return line, nil
	}
}

// bodyError says what an error of reading a body means; io.EOF stays what it is.
func bodyError(err error) error {
	var (
		tooLarge *http.MaxBytesError
		network  net.Error
	)
	switch {
	case errors.Is(err, io.EOF), errors.As(err, &tooLarge):
		return err
	case errors.As(err, &network) && network.Timeout():
		return &Problem{Status: http.StatusRequestTimeout, Code: codeTimeout, Detail: "The body did not arrive in time."}
	}
	return &Problem{Status: http.StatusBadRequest, Code: codeInvalidJSON, Detail: "The body ended early.", cause: err}
}

// pacedBody gives a body that keeps coming as long as it needs: ReadTimeout is
// meant for small ones. Only the time spent waiting for the sender counts.
type pacedBody struct {
	io.ReadCloser
	rc         *http.ResponseController
	left, most time.Duration
}

func (b *pacedBody) Read(p []byte) (int, error) {
	start := time.Now()
	_ = b.rc.SetReadDeadline(start.Add(b.left)) // not supported by test doubles
	n, err := b.ReadCloser.Read(p)
	earned := time.Duration(n) * time.Second / slowestSender
	b.left = min(b.most, b.left-time.Since(start)+earned)
	return n, err
}

// checkBatchMedia tells whether the body is a stream of lines; else it is an array.
func checkBatchMedia(h http.Header) (stream bool, err error) {
	media, params, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err == nil && (media == ndjsonMediaType || media == "application/ndjson" || media == "application/jsonl") {
		as := http.Header{"Content-Type": {mime.FormatMediaType(jsonMediaType, params)}, "Content-Encoding": h["Content-Encoding"]}
		return true, checkMedia(as)
	}
	if err = checkMedia(h); err != nil {
		var p *Problem
		if errors.As(err, &p) && strings.HasPrefix(p.Detail, "The Content-Type") {
			p.Detail = "The Content-Type must be application/json or application/x-ndjson."
		}
	}
	return false, err
}

// answersStream tells whether the answer is to be NDJSON: as Accept says, and when
// it does not care, as the body was.
func answersStream(h http.Header, stream bool) bool {
	for _, list := range h["Accept"] {
		for one := range strings.SplitSeq(list, ",") {
			switch media, _, _ := mime.ParseMediaType(one); media { // what cannot be read does not count
			case ndjsonMediaType:
				return true
			case jsonMediaType:
				return false
			}
		}
	}
	return stream
}

// decodeBatchItem is decodeSubmission for an item, whose key stands beside the
// payload because there is one header only. Without that member the item is what
// a single POST would bring, byte by byte: both know each other's keys.
func decodeBatchItem(raw []byte, lim rules) (store.NewRequest, error) {
	rest, key, keyErr := cutKey(raw)
	r, err := decodeSubmission(rest, lim)
	if keyErr != nil {
		var p *Problem
		if errors.As(err, &p) && p.Code == codeValidation {
			p.Errors = append(keyErr.Errors, p.Errors...)
			return r, p
		}
		if err == nil {
			err = keyErr
		}
	}
	if err != nil {
		return r, err
	}
	if key != "" {
		digest := sha256.Sum256(rest)
		r.IdempotencyKey, r.Digest = key, digest[:]
	}
	return r, nil
}

const (
	memberKey = "idempotency_key"
	jsonSpace = " \t\r\n"
)

var saneKey = regexp.MustCompile(`^[!-~]{1,255}$`) // as the header's

// cutKey takes the member idempotency_key out of an object. What it cannot read
// it returns as it is: decodeSubmission says what is wrong with it.
func cutKey(raw []byte) (rest []byte, key string, wrong *Problem) {
	if !bytes.Contains(raw, []byte(memberKey)) && bytes.IndexByte(raw, '\\') < 0 {
		return raw, "", nil // no such name, also not by escapes
	}
	dec := lenient(raw)
	defer payload.Release(dec)
	if dec.PeekKind() != jsontext.KindBeginObject {
		return raw, "", nil
	}
	if _, err := dec.ReadToken(); err != nil {
		return raw, "", nil
	}
	for before := int(dec.InputOffset()); dec.PeekKind() == jsontext.KindString; before = int(dec.InputOffset()) {
		quoted, err := dec.ReadValue()
		if err != nil {
			return raw, "", nil
		}
		start := int(dec.InputOffset()) - len(quoted)
		name, err := jsontext.AppendUnquote(nil, quoted)
		if err != nil || string(name) != memberKey {
			if err := dec.SkipValue(); err != nil {
				return raw, "", nil
			}
			continue
		}
		value, err := dec.ReadValue()
		if err != nil {
			return raw, "", nil
		}
		text, err := jsontext.AppendUnquote(nil, value)
		absent := value.Kind() == jsontext.KindNull
		end := int(dec.InputOffset())
		if bytes.IndexByte(raw[before:start], ',') >= 0 {
			start = before // the comma before it goes with it
		} else if behind := bytes.TrimLeft(raw[end:], jsonSpace); len(behind) > 0 && behind[0] == ',' {
			end = len(raw) - len(bytes.TrimLeft(behind[1:], jsonSpace))
		}
		rest = append(append(make([]byte, 0, len(raw)), raw[:start]...), raw[end:]...)
		if absent {
			return rest, "", nil
		}
		if err != nil || !saneKey.Match(text) {
			return rest, "", invalidBody(payload.Faults{{
				Pointer: "/" + memberKey, Detail: "must be a string of 1 to 255 printable ASCII characters without spaces",
			}})
		}
		return rest, string(text), nil
	}
	return raw, "", nil
}
