package biocore

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/cenkalti/backoff/v5"
	"golang.org/x/sync/semaphore"

	"github.com/leomutto/pilot-in-a-box/jobs/payload"
	"github.com/leomutto/pilot-in-a-box/jobs/signals"
)

// Client calls one BioCore. It can be used by several goroutines at once.
type Client struct {
	options Options
	base    *url.URL
	http    *http.Client
	breaker *breaker
	places  *semaphore.Weighted // one for each call that may be under way
}

// New returns a client, or an error that lists everything that is wrong with
// the options. It does not connect.
func New(o Options) (*Client, error) {
	base, err := o.validate()
	if err != nil {
		return nil, err
	}
	return &Client{
		options: o,
		base:    base,
		http:    newHTTPClient(&o),
		breaker: newBreaker(o.BreakerFailures, o.BreakerPause),
		places:  semaphore.NewWeighted(int64(o.MaxCalls)),
	}, nil
}

// Breaker returns the state of the circuit breaker.
func (c *Client) Breaker() Breaker { return c.breaker.state() }

// Close closes idle connections. Calls that are under way go on.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Ask is one question for recommendations.
type Ask struct {
	// Document is the request in its normal form. It must have passed
	// signals.Validate. Recommend does not change it.
	Document *signals.Document
	// Key is the Idempotency-Key, which must differ for each question that is
	// to be answered again. It also takes the place of a request_id or an
	// idempotency_key that the document does not have, so that every answer
	// names its request.
	Key string
	// Traceparent is the W3C header of the caller's span; optional. Otherwise the
	// trace of the document is sent.
	Traceparent string
}

// Reply is an answer with a status of 2xx, which is either accepted or refused.
type Reply struct {
	// Answer is the answer if it passed all checks, and nil if it is refused.
	Answer *Answer
	// Faults lists why the answer is refused.
	Faults payload.Faults
	// Model names what made the answer, also of a refused one as far as it
	// could be read.
	Model Model
	// Body holds the bytes of the answer; nil if there were too many. Those of a
	// refused answer can be anything, not only JSON.
	Body []byte
	// Latency is the duration of the call that succeeded.
	Latency time.Duration
	// Tries is how often BioCore was called.
	Tries int
}

// Refused reports whether the answer must not be shown.
func (r *Reply) Refused() bool { return r.Answer == nil }

// Recommend asks for recommendations. It ends within the smallest of the
// request's timeout, the request's service level objective and Options.Timeout,
// including all waits and retries. The error is always an *Error.
func (c *Client) Recommend(ctx context.Context, ask Ask) (*Reply, error) {
	document, q, err := prepare(ask)
	if err != nil {
		return nil, err
	}
	total := c.total(document)
	ctx, cancel := context.WithTimeoutCause(ctx, total, errTotal)
	defer cancel()
	res, tries, err := c.retry(ctx, total, q)
	if err != nil {
		err.Tries = tries
		return nil, err
	}
	reply := &Reply{Body: res.body, Latency: res.latency, Tries: tries}
	reply.Answer, reply.Faults = examine(document, res, c.options.MaxAnswer)
	reply.Model = modelOf(reply.Answer, res.body)
	return reply, nil
}

// prepare returns the document that is sent and the question that carries it.
func prepare(ask Ask) (*signals.Document, question, *Error) {
	if ask.Document == nil || !isKey(ask.Key) {
		return nil, question{}, newError(ReasonRequest, nil, "cannot be asked without a document and a key of 1 to 200 printable ASCII characters")
	}
	document := *ask.Document
	if document.Request.RequestID == "" {
		document.Request.RequestID = ask.Key
	}
	if document.Request.IdempotencyKey == "" {
		document.Request.IdempotencyKey = ask.Key
	}
	body, err := payload.AppendStruct(nil, &document)
	if err != nil {
		return nil, question{}, newError(ReasonRequest, err, "cannot be asked: the document cannot be written")
	}
	header := http.Header{"Idempotency-Key": {ask.Key}}
	if ask.Traceparent != "" {
		header.Set("Traceparent", ask.Traceparent)
	} else if parent := document.Trace.Traceparent; parent != "" {
		header.Set("Traceparent", parent)
	}
	return &document, question{method: http.MethodPost, path: "recommend", body: body, header: header}, nil
}

// isKey reports whether a key can be sent in a header and fits into request_id.
func isKey(key string) bool {
	for i := range len(key) {
		if key[i] <= ' ' || key[i] > '~' {
			return false
		}
	}
	return key != "" && len(key) <= 200
}

// total returns how long Recommend may take for a document.
func (c *Client) total(d *signals.Document) time.Duration {
	total := c.options.Timeout
	for _, limit := range []signals.Number{d.Request.TimeoutMS, d.Request.ServiceLevelObjectiveMS} {
		if ms := limit.Float(); ms > 0 && ms < float64(total)/float64(time.Millisecond) {
			total = time.Duration(ms * float64(time.Millisecond))
		}
	}
	return total
}

// retry sends a question until there is an answer, the failure must not be
// retried, or the next try would not fit into the total. It returns the number
// of calls that were made.
func (c *Client) retry(ctx context.Context, total time.Duration, q question) (res *response, tries int, last *Error) {
	delays := backoff.NewExponentialBackOff()
	delays.InitialInterval = c.options.RetryDelay
	delays.Multiplier = 2
	res, err := backoff.Retry(ctx, func() (*response, error) {
		res, called, err := c.try(ctx, total/2, q)
		if called {
			tries++
		}
		if err == nil {
			return res, nil
		}
		if err.Reason != ReasonBreakerOpen || last == nil {
			last = err
		} else { // the failure that opened the breaker says more
			last.RetryAfter = max(last.RetryAfter, err.RetryAfter)
			last.again = false
		}
		if !last.again {
			return nil, backoff.Permanent(last)
		}
		if last.RetryAfter > 0 {
			return nil, errors.Join(last, &backoff.RetryAfterError{Duration: last.RetryAfter})
		}
		return nil, last
	}, backoff.WithBackOff(delays), backoff.WithMaxTries(uint(c.options.MaxTries)), backoff.WithMaxElapsedTime(total)) // validated to be above 0
	if err == nil {
		return res, tries, nil
	}
	return nil, tries, last
}

// try sends a question once, when it is its turn and the breaker lets it pass.
// It waits for its turn at most the given time, so that BioCore has the rest of
// the time to answer: calls that wait until they have no time left would be
// ended before they could prove that BioCore hangs.
func (c *Client) try(ctx context.Context, wait time.Duration, q question) (res *response, called bool, failure *Error) {
	turn, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	if err := c.places.Acquire(turn, 1); err != nil {
		cause := context.Cause(ctx)
		if cause == nil || errors.Is(cause, errTotal) || errors.Is(cause, context.DeadlineExceeded) {
			failure = newError(ReasonBusy, err, "was not called, because %d calls were under way all the time", c.options.MaxCalls)
		} else {
			failure = newError(ReasonCanceled, cause, "was not called, because the caller ended the call")
		}
		failure.Retry = true
		return nil, false, failure
	}
	defer c.places.Release(1)
	res, failure = c.breaker.do(c.options.Timeout, func() (*response, *Error) {
		called = true
		return c.send(ctx, q)
	})
	return res, called, failure
}

// examine decodes and checks an answer. It returns either an answer or faults.
func examine(document *signals.Document, res *response, limit int64) (*Answer, payload.Faults) {
	var faults payload.Faults
	switch {
	case res.tooLarge:
		faults.Add("", "must have at most %d bytes", limit)
		return nil, faults
	case res.encoding != "" && res.encoding != "identity":
		faults.Add("", "must not be encoded, got the Content-Encoding %s", payload.Quote(res.encoding))
		return nil, faults
	case !isJSON(res.contentType):
		faults.Add("", "must be application/json, got %s", payload.Quote(res.contentType))
		return nil, faults
	}
	answer, faults := Decode(res.body)
	if len(faults) == 0 {
		faults = Check(document, answer)
	}
	if len(faults) > 0 {
		return nil, faults
	}
	return answer, nil
}

// modelOf returns the model of an answer, or what can be read of it in the body
// of a refused one. Its texts are bounded.
func modelOf(answer *Answer, body []byte) Model {
	if answer != nil {
		return answer.Response.Model
	}
	var loose struct {
		Response struct {
			Model Model `json:"model"`
		} `json:"response"`
	}
	if err := json.Unmarshal(body, &loose); err != nil {
		return Model{}
	}
	return loose.Response.Model.bounded()
}

// bounded returns a model whose texts can be stored and shown.
func (m Model) bounded() Model {
	return Model{Name: boundText(m.Name), Version: boundText(m.Version), PolicyID: boundText(m.PolicyID)}
}

// boundText returns text in normal form, without U+0000, and at most
// defaultMaxLength characters of it.
func boundText(text string) string {
	runes := []rune(payload.CleanText(text))
	runes = runes[:min(len(runes), defaultMaxLength)]
	for i, r := range runes {
		if r == 0 {
			runes[i] = '\ufffd'
		}
	}
	return string(runes)
}
