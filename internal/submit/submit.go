// Package submit sends many submissions to a MASS API: it reads them from a
// file (NDJSON, a JSON array, or CSV), sends them in chunks as batches, retries
// those that were not accepted, and reports the outcome of each.
//
// Every item has an idempotency key made of its position and its content, so
// the same input can be sent again after any interruption and nothing is stored
// twice. The package keeps no state. It knows HTTP and the fields of a payload,
// but not how the API works inside.
package submit

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// Options say where and how to send. The zero value of a field means its
// default.
type Options struct {
	URL       string        // of the API, without a path
	Token     string        // sent as Bearer when set
	Chunk     int           // items per batch; 500
	KeyPrefix string        // first part of every idempotency key: the name of the input
	Timeout   time.Duration // without progress before giving up; 5 min
	Backoff   time.Duration // before the second attempt; it doubles up to 30 s; 200 ms
	Client    *http.Client  // http.DefaultClient

	// Progress gets the number of items that are stored now, were stored
	// before, or are refused.
	Progress func(settled int)
	// Refused gets each item that will not be stored, in order within a chunk.
	Refused func(Refusal) error
}

const (
	defaultChunk   = 500
	maxChunk       = 10_000  // the API's bound
	maxChunkBytes  = 8 << 20 // of a batch, apart from a single larger item
	defaultTimeout = 5 * time.Minute
	firstBackoff   = 200 * time.Millisecond
	longestBackoff = 30 * time.Second
)

func (o Options) withDefaults() (Options, error) {
	o.URL = strings.TrimRight(o.URL, "/")
	if o.Chunk == 0 {
		o.Chunk = defaultChunk
	}
	if o.Chunk < 1 || o.Chunk > maxChunk {
		return o, fmt.Errorf("a chunk must have 1 to %d items, not %d", maxChunk, o.Chunk)
	}
	if o.Timeout <= 0 {
		o.Timeout = defaultTimeout
	}
	if o.Backoff <= 0 {
		o.Backoff = firstBackoff
	}
	if o.Client == nil {
		o.Client = http.DefaultClient
	}
	if o.Progress == nil {
		o.Progress = func(int) {}
	}
	if o.Refused == nil {
		o.Refused = func(Refusal) error { return nil }
	}
	return o, nil
}

// Refusal is an item that was not stored and will not be.
type Refusal struct {
	Line   int         `json:"line"`   // where it begins in the input, from 1
	Status int         `json:"status"` // HTTP status; 0 when it was not sent
	Code   string      `json:"code"`
	Detail string      `json:"detail"`
	Errors []ItemFault `json:"errors,omitempty"`
	Item   string      `json:"item"` // as in the input; of a CSV record, the submission made from it
}

// String is one line for people: "line 7: /payload/…: must be …".
func (r Refusal) String() string {
	text := fmt.Sprintf("line %d: %s", r.Line, r.Detail)
	for i, f := range r.Errors {
		if i == 0 {
			text = fmt.Sprintf("line %d", r.Line)
		}
		if f.Pointer == "" {
			text += ": " + f.Detail
		} else {
			text += ": " + f.Pointer + " " + f.Detail
		}
	}
	return text
}

// ItemFault is one thing that is wrong with an item.
type ItemFault struct {
	Pointer string `json:"pointer,omitempty"`
	Detail  string `json:"detail"`
}

// Summary counts the outcomes of the items.
type Summary struct {
	Read     int     // from the input
	Created  int     // stored by this run
	Replayed int     // stored before, by an earlier run
	Refused  int     // wrong
	IDs      []int64 // of the created and the replayed
}

// NotSent is the number of items that were read but may not be stored.
func (s *Summary) NotSent() int { return s.Read - s.Created - s.Replayed - s.Refused }

// Run sends all items of the reader. The summary is valid even with an error,
// which says why not all items were sent.
func Run(ctx context.Context, in Reader, o Options) (*Summary, error) {
	sum := new(Summary)
	o, err := o.withDefaults()
	if err != nil {
		return sum, err
	}
	s := &sender{Options: o, sum: sum}
	for {
		chunk, err := s.gather(in)
		sum.Read += len(chunk)
		if sendErr := s.settle(ctx, chunk); sendErr != nil {
			return sum, sendErr
		}
		switch {
		case errors.Is(err, io.EOF):
			return sum, nil
		case err != nil:
			return sum, err
		}
	}
}

// gather reads the next chunk. An error may come with the last items before it.
func (s *sender) gather(in Reader) (chunk []pendingItem, err error) {
	for size := 0; len(chunk) < s.Chunk && size < maxChunkBytes; {
		it, err := in.Next()
		if err != nil {
			return chunk, err
		}
		size += len(it.Body)
		chunk = append(chunk, pendingItem{Item: it, body: withKey(it, s.KeyPrefix)})
	}
	return chunk, nil
}

// withKey is the submission with its key, unless it brings one of its own.
func withKey(it Item, prefix string) []byte {
	if it.Fault != "" || it.HasKey {
		return it.Body
	}
	body := append([]byte(`{"idempotency_key":"`), Key(prefix, it.Line, it.Body)...)
	body = append(body, '"')
	rest := bytes.TrimLeft(it.Body[1:], " \t") // after the opening brace, which every item without a fault has
	if rest[0] != '}' {
		body = append(body, ',')
	}
	return append(body, rest...)
}

// Key is the idempotency key of an item: the same for the same content at the
// same place of the same input, and for nothing else.
func Key(prefix string, line int, body []byte) string {
	h := sha256.New()
	fmt.Fprintf(h, "%d:%s\n%d\n", len(prefix), prefix, line)
	h.Write(body)
	return hex.EncodeToString(h.Sum(nil))
}
