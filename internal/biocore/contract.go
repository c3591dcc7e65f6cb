package biocore

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/leomutto/pilot-in-a-box/jobs/payload"
	"github.com/leomutto/pilot-in-a-box/jobs/signals"
)

// Finding is the outcome of one test of the contract.
type Finding struct {
	Test    string
	Problem string // "" if the test passed
	Took    time.Duration
}

// Passed reports whether the test passed.
func (f *Finding) Passed() bool { return f.Problem == "" }

// Contract runs the tests of the contract against the client's server, one
// after the other. The tests ask for recommendations about imaginary sites,
// under keys that start with the given prefix; a prefix that was used before
// may get the answers of that time.
func Contract(ctx context.Context, c *Client, prefix string) []Finding {
	x := contractTests{client: c, prefix: prefix}
	tests := []struct {
		name string
		run  func(context.Context) error
	}{
		{"GET /health answers 2xx", c.Health},
		{"GET /version names the model", x.version},
		{"an answer passes every check", x.example},
		{"a minimal request gets an answer", x.minimal},
		{"the same key gets the same recommendations", x.sameKey},
		{"top_k is respected", x.topK},
		{"max_setpoint_change_c of 0 is respected", x.noSetpointChange},
		{"racks above their limit get no less cooling", x.hotRacks},
		{"eight requests at once get their own answers", x.concurrent},
		{"an answer arrives within the service level objective", x.objective},
		{"a body that is not JSON is refused for good", x.malformed},
		{"a request without a site is refused for good", x.incomplete},
		{"GET /recommend is refused for good", x.wrongMethod},
	}
	findings := make([]Finding, 0, len(tests))
	for _, test := range tests {
		started := time.Now()
		finding := Finding{Test: test.name}
		if err := test.run(ctx); err != nil {
			finding.Problem = problemOf(err)
		}
		finding.Took = time.Since(started)
		findings = append(findings, finding)
	}
	return findings
}

// problemOf returns an error with its cause, which the operator of the server
// needs.
func problemOf(err error) string {
	var e *Error
	if errors.As(err, &e) && e.Cause != nil {
		return fmt.Sprintf("%v: %v", err, e.Cause)
	}
	return err.Error()
}

type contractTests struct {
	client *Client
	prefix string
}

// document returns the example request under the name of a test.
func (x *contractTests) document(test string) *signals.Document {
	decoded, _ := signals.Decode(signals.Example()) // the example is valid, which a test proves
	document, _ := signals.Normalize(decoded)
	id := x.prefix + "-" + test
	document.CorrelationID = id
	document.Request.RequestID, document.Request.IdempotencyKey = id, id
	document.Request.Environment = "dev"
	return document
}

// ask returns the accepted answer for a document.
func (x *contractTests) ask(ctx context.Context, d *signals.Document) (*Reply, error) {
	key := d.Request.RequestID
	if key == "" {
		key = x.prefix + "-minimal"
	}
	reply, err := x.client.Recommend(ctx, Ask{Document: d, Key: key})
	if err != nil {
		return nil, err
	}
	return reply, reply.Faults.Err()
}

func (x *contractTests) version(ctx context.Context) error {
	_, err := x.client.Version(ctx)
	return err
}

func (x *contractTests) example(ctx context.Context) error {
	_, err := x.ask(ctx, x.document("example"))
	return err
}

func (x *contractTests) minimal(ctx context.Context) error {
	full := x.document("minimal")
	_, err := x.ask(ctx, &signals.Document{SchemaVersion: signals.Version, Request: signals.Request{
		TimeWindow:  full.Request.TimeWindow,
		Assets:      signals.Assets{SiteID: full.Request.Assets.SiteID},
		Mode:        signals.ModeShadow,
		Signals:     signals.Signals{Energy: signals.Energy{ITLoadKW: "100", FacilityPowerKW: "150"}},
		Constraints: signals.Constraints{Hard: signals.HardConstraints{NoControlActions: "true"}},
	}})
	return err
}

func (x *contractTests) sameKey(ctx context.Context) error {
	document := x.document("same")
	first, err := x.ask(ctx, document)
	if err != nil {
		return err
	}
	second, err := x.ask(ctx, document)
	if err != nil {
		return err
	}
	one, _ := json.Marshal(first.Answer.Response.Recommendations) // decoded from JSON, so it can be encoded
	two, _ := json.Marshal(second.Answer.Response.Recommendations)
	if !bytes.Equal(one, two) {
		return errors.New("the recommendations of two answers differ")
	}
	return nil
}

func (x *contractTests) topK(ctx context.Context) error {
	document := x.document("topk")
	document.Request.Preferences.TopK = "1"
	_, err := x.ask(ctx, document)
	return err
}

func (x *contractTests) noSetpointChange(ctx context.Context) error {
	document := x.document("setpoint")
	document.Request.Constraints.Hard.MaxSetpointChangeC = "0"
	_, err := x.ask(ctx, document)
	return err
}

func (x *contractTests) hotRacks(ctx context.Context) error {
	document := x.document("hot")
	document.Request.Signals.Thermal.P95RackInletC = "29.5"
	document.Request.Signals.Thermal.HotspotRackCount = "9"
	_, err := x.ask(ctx, document)
	return err
}

func (x *contractTests) concurrent(ctx context.Context) error {
	var group errgroup.Group
	for i := range 8 {
		group.Go(func() error {
			document := x.document("concurrent-" + strconv.Itoa(i))
			document.Request.Signals.Cooling.FanPowerKW = signals.Number(strconv.Itoa(30 + i))
			_, err := x.ask(ctx, document)
			return err
		})
	}
	return group.Wait()
}

func (x *contractTests) objective(ctx context.Context) error {
	document := x.document("objective")
	reply, err := x.ask(ctx, document)
	if err != nil {
		return err
	}
	objective := time.Duration(document.Request.ServiceLevelObjectiveMS.Float()) * time.Millisecond
	if reply.Latency > objective {
		return fmt.Errorf("the answer took %v; the objective of the request is %v", reply.Latency.Round(time.Millisecond), objective)
	}
	return nil
}

func (x *contractTests) malformed(ctx context.Context) error {
	return x.refused(ctx, question{method: http.MethodPost, path: "recommend", body: []byte(`{"schema_version":`)})
}

func (x *contractTests) incomplete(ctx context.Context) error {
	document := x.document("incomplete")
	document.Request.Assets = signals.Assets{}
	body, err := payload.AppendStruct(nil, document)
	if err != nil {
		return err
	}
	return x.refused(ctx, question{method: http.MethodPost, path: "recommend", body: body})
}

func (x *contractTests) wrongMethod(ctx context.Context) error {
	return x.refused(ctx, question{method: http.MethodGet, path: "recommend"})
}

// refused sends a question that must be answered with a status of 4xx that does
// not ask for a retry.
func (x *contractTests) refused(ctx context.Context, q question) error {
	ctx, cancel := context.WithTimeoutCause(ctx, x.client.options.Timeout, errTotal)
	defer cancel()
	if q.body != nil {
		q.header = http.Header{"Idempotency-Key": {x.prefix + "-" + strings.ToLower(q.method)}}
	}
	_, failure := x.client.send(ctx, q)
	switch {
	case failure == nil:
		return errors.New("the answer is a success")
	case failure.Status < 400 || failure.Status > 499:
		return failure
	case failure.Retry:
		return errors.New("the answer asks for a retry: " + failure.Detail)
	}
	return nil
}
