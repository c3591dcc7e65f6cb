package api

import (
	"bytes"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/leomutto/pilot-in-a-box/internal/web"
	"github.com/leomutto/pilot-in-a-box/store"
)

// These limits bound the faults that one response reports, because a batch
// submission may have a million of them.
const (
	maxItemErrors   = 20    // per item
	maxAnswerErrors = 5_000 // per response
)

// BatchItem is the outcome of one submission of a batch submission.
type BatchItem struct {
	Index    int          `json:"index" minimum:"0" doc:"Position in the batch, from 0; blank lines do not count" example:"0"`
	Status   int          `json:"status" doc:"HTTP status that a single POST of this submission would have received; 201 means that it is stored" example:"201"`
	ID       int64        `json:"id,omitzero" minimum:"1" doc:"With 201: id of the MassRequest" example:"42"`
	Replayed *bool        `json:"replayed,omitempty" doc:"With 201: true if it was stored earlier with the same key" example:"false"`
	Problem  *ItemProblem `json:"problem,omitempty" doc:"Without 201: why the submission was not stored. Only 429 and 503 are worth another attempt"`
}

// ItemProblem says why one submission of a batch submission was not stored.
type ItemProblem struct {
	Code   string           `json:"code" doc:"Kind of problem, for programs; uses the codes of Problem" example:"validation_failed"`
	Detail string           `json:"detail" doc:"What went wrong, for people" example:"The request was refused; errors lists what is wrong with it."`
	Errors []web.FieldError `json:"errors,omitempty" doc:"What is wrong with the item: at most 20 faults per item and 5000 per response; pointers start at the item" nullable:"false"`
}

// BatchEnd is the last line of an NDJSON response and the end of a JSON
// response.
type BatchEnd struct {
	Created  int           `json:"created" minimum:"0" doc:"Number of submissions stored by this call" example:"1"`
	Replayed int           `json:"replayed" minimum:"0" doc:"Number of submissions that were stored earlier with the same keys" example:"0"`
	Refused  int           `json:"refused" minimum:"0" doc:"Number of submissions that were not stored" example:"1"`
	Problem  *BatchProblem `json:"problem,omitempty" doc:"Why the batch was not read to its end; the items that were answered remain valid"`
}

// BatchProblem says why a batch submission ended after its response had begun.
type BatchProblem struct {
	Status int    `json:"status" doc:"HTTP status that the response would have had if it had not begun" example:"413"`
	Code   string `json:"code" doc:"Kind of problem, for programs" example:"payload_too_large"`
	Detail string `json:"detail" doc:"What went wrong, for people" example:"A batch may have at most 10000 items."`
}

// BatchResult is the JSON response to a batch submission. Only its schema is
// used: submissionsAnswer writes the response piece by piece, and a test checks
// that the two agree.
type BatchResult struct {
	Items []BatchItem `json:"items" nullable:"false" doc:"One for each submission, in the order of the batch"`
	BatchEnd
}

// submissionsAnswer writes a response while the batch submission is still being
// read. Adding an item never waits for the client, because a client that sends
// its whole body before it reads the response would wait for the server at the
// same time. maxSubmissions and maxAnswerErrors bound the bytes that wait to be
// written.
type submissionsAnswer struct {
	w       http.ResponseWriter
	rc      *http.ResponseController
	stream  bool
	timeout time.Duration // time limit of one write
	gone    func()        // called when writing to the client fails
	done    chan struct{} // closed when everything is written

	tally  BatchEnd
	items  int
	faults int

	mu     sync.Mutex
	more   *sync.Cond
	buf    bytes.Buffer
	closed bool
	err    error
}

func newSubmissionsAnswer(w http.ResponseWriter, rc *http.ResponseController, stream bool, timeout time.Duration, gone func()) *submissionsAnswer {
	a := &submissionsAnswer{w: w, rc: rc, stream: stream, timeout: timeout, gone: gone, done: make(chan struct{})}
	a.more = sync.NewCond(&a.mu)
	media := web.MediaJSON
	if stream {
		media = web.MediaNDJSON
	} else {
		a.buf.WriteString(`{"items":[`)
	}
	w.Header().Set("Content-Type", media)
	go a.write()
	return a
}

// add appends the outcome of the next item to the response.
func (a *submissionsAnswer) add(row store.Inserted, err error) {
	it := a.item(row, err)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err != nil {
		return
	}
	if !a.stream && it.Index > 0 {
		a.buf.WriteByte(',')
	}
	a.put(it)
}

// item returns the outcome of the next item and adds it to the tally.
func (a *submissionsAnswer) item(row store.Inserted, err error) BatchItem {
	if err == nil && row.Mismatch {
		err = &web.Problem{Status: http.StatusUnprocessableEntity, Code: web.CodeKeyReused, Detail: detailItemKeyReused}
	}
	it := BatchItem{Index: a.items}
	a.items++
	if err == nil {
		it.Status, it.ID, it.Replayed = http.StatusCreated, row.ID, &row.Replayed
		if row.Replayed {
			a.tally.Replayed++
		} else {
			a.tally.Created++
		}
		return it
	}
	p := problemOf(err)
	errs := p.Errors[:min(len(p.Errors), maxItemErrors, maxAnswerErrors-a.faults)]
	a.faults += len(errs)
	a.tally.Refused++
	it.Status, it.Problem = p.Status, &ItemProblem{Code: p.Code, Detail: p.Detail, Errors: errs}
	return it
}

const detailItemKeyReused = "This idempotency_key was used for another submission before. Use a new key for a new submission."

// end completes the response. It returns when the whole response is written or
// the client is gone.
func (a *submissionsAnswer) end(p *web.Problem) error {
	if p != nil {
		a.tally.Problem = &BatchProblem{Status: p.Status, Code: p.Code, Detail: p.Detail}
	}
	a.mu.Lock()
	if !a.stream {
		a.buf.WriteByte(']')
		var tail bytes.Buffer
		_ = web.Encode(&tail, a.tally) // cannot fail: plain fields, written to memory
		a.buf.WriteByte(',')
		a.buf.Write(tail.Bytes()[1:]) // without its opening brace
	} else {
		a.put(a.tally)
	}
	a.closed = true
	a.more.Signal()
	a.mu.Unlock()
	<-a.done
	return a.err
}

// put appends a value and, in a stream, a line break.
func (a *submissionsAnswer) put(v any) {
	_ = web.Encode(&a.buf, v) // cannot fail: plain fields, written to memory
	if a.stream {
		a.buf.WriteByte('\n')
	}
	a.more.Signal()
}

// write sends the buffered bytes until the response is complete.
func (a *submissionsAnswer) write() {
	defer close(a.done)
	var sending bytes.Buffer
	for {
		a.mu.Lock()
		for a.buf.Len() == 0 && !a.closed {
			a.more.Wait()
		}
		sending.Reset()
		sending, a.buf = a.buf, sending
		last := a.closed
		a.mu.Unlock()

		_ = a.rc.SetWriteDeadline(time.Now().Add(a.timeout)) // not supported by test doubles
		_, err := a.w.Write(sending.Bytes())
		if err == nil {
			err = a.rc.Flush()
		}
		if err != nil && !errors.Is(err, http.ErrNotSupported) {
			a.mu.Lock()
			a.err = err
			a.mu.Unlock()
			a.gone()
			return
		}
		if last {
			return
		}
	}
}
