package api

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"time"

	"github.com/leomutto/pilot-in-a-box/internal/web"
	"github.com/leomutto/pilot-in-a-box/store"
)

// slowestSender is the number of bytes per second that a body must bring on
// average, beyond the time that every request has.
const slowestSender = 16 << 10

// submissionSource returns the submissions of a body one after the other, and
// io.EOF at their end. An itemError is about one item; any other error ends the
// reading.
type submissionSource interface {
	next() ([]byte, error)
}

// itemError is an item that cannot be read, while the following ones can.
type itemError struct{ problem *web.Problem }

func (e *itemError) Error() string { return e.problem.Error() }

func itemTooLarge(most int64) *itemError {
	return &itemError{&web.Problem{
		Status: http.StatusRequestEntityTooLarge, Code: web.CodeTooLarge,
		Detail: fmt.Sprintf("An item may have at most %d bytes.", most),
	}}
}

// arraySource holds the elements of an array, as parts of the body.
type arraySource struct {
	elements [][]byte
	maxItem  int64
}

// newArraySource checks the syntax of the whole array. The elements are decoded
// later, and a wrong one is refused by itself.
func newArraySource(body []byte, maxItem int64) (*arraySource, error) {
	a := &arraySource{maxItem: maxItem}
	err := web.DecodeArray(body, "submissions", func(element []byte) error {
		if len(a.elements) == maxSubmissions {
			return tooManyItems()
		}
		a.elements = append(a.elements, element)
		return nil
	})
	return a, err
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

// lineSource reads NDJSON. Blank lines are not items.
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
// read to its end and dropped. A last line without a line end counts only if
// the whole body has arrived.
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
		case errors.Is(err, io.EOF) && len(line) == 0 && !tooLong:
			return nil, io.EOF
		case err != nil && !errors.Is(err, io.EOF):
			return nil, web.BodyError(err)
		case tooLong:
			return nil, itemTooLarge(l.maxItem)
		}
		return line, nil
	}
}

// pacedBody gives a body that keeps arriving as much time as it needs, because
// ReadTimeout is meant for small bodies. Only the time spent waiting for the
// sender counts.
type pacedBody struct {
	io.ReadCloser
	rc         *http.ResponseController
	left, most time.Duration
}

// Read implements io.Reader.
func (b *pacedBody) Read(p []byte) (int, error) {
	start := time.Now()
	_ = b.rc.SetReadDeadline(start.Add(b.left)) // test doubles do not support it
	n, err := b.ReadCloser.Read(p)
	earned := time.Duration(n) * time.Second / slowestSender
	b.left = min(b.most, b.left-time.Since(start)+earned)
	return n, err
}

// answersStream reports whether the answer is NDJSON: as Accept prefers, and
// otherwise as the body is.
func answersStream(h http.Header, stream bool) bool {
	offers := []string{web.MediaJSON, web.MediaNDJSON}
	if stream {
		offers = []string{web.MediaNDJSON, web.MediaJSON}
	}
	media, ok := web.Negotiate(h["Accept"], offers...)
	return ok && media == web.MediaNDJSON || !ok && stream
}

// decodeItem is decodeSubmission for an item, whose key is a member of the item
// instead of a header.
func decodeItem(raw []byte, lim rules) (store.NewRequest, error) {
	var key string
	r, err := decodeSubmission(raw, lim, web.CheckedMember("idempotency_key", false, &key, parseKey))
	if err == nil && key != "" {
		r.IdempotencyKey, r.Digest = key, contentDigest(&r)
	}
	return r, err
}

var acceptableKey = regexp.MustCompile(`^[!-~]{1,255}$`) // the pattern of the header Idempotency-Key

func parseKey(key string) (string, error) {
	if !acceptableKey.MatchString(key) {
		return "", errors.New("must be a string of 1 to 255 printable ASCII characters without spaces")
	}
	return key, nil
}

// contentDigest identifies the content to which an idempotency key belongs. It
// is the SHA-256 of everything that a client says about a submission, including
// the payload byte for byte. A POST and an item of a POST /batch with the same
// content have the same digest, whatever the order of their members.
func contentDigest(r *store.NewRequest) []byte {
	h := sha256.New()
	for _, member := range [][]byte{
		r.Payload, []byte(r.Priority), instantBytes(r.RunAt), instantBytes(r.ExpiresAt), []byte(r.CallbackURL),
	} {
		var length [8]byte // keeps neighbors apart
		binary.BigEndian.PutUint64(length[:], uint64(len(member)))
		h.Write(length[:])
		h.Write(member)
	}
	return h.Sum(nil)
}

func instantBytes(t time.Time) []byte {
	if t.IsZero() {
		return nil
	}
	return t.UTC().AppendFormat(nil, time.RFC3339Nano)
}
