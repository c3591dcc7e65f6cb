// Package pipeline owns the order of the pure steps that process a request's
// payload in the worker: decode, validate, normalize and derive for signals,
// and normalize for free form. It also owns the form of a request's result.
//
// It must not know the origin of payloads or the destination of results: no
// SQL, no queues, no HTTP. Package cmd/mass, which wires the worker, adds the
// steps that call other systems.
package pipeline

import (
	"context"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/leomutto/pilot-in-a-box/jobs/payload"
	"github.com/leomutto/pilot-in-a-box/jobs/signals"
)

// Step is one named stage. A payload.Faults error of Do is permanent: the
// payload is wrong, and another attempt cannot help.
type Step struct {
	Name string
	Do   func(context.Context, *State) error
}

// State is shared by the steps of one run. Each step reads the values that
// earlier steps set.
type State struct {
	Raw      []byte            // the payload, as submitted
	Meta     payload.Meta      // its shape and its identifiers
	Document *signals.Document // set by Run or by decode, replaced by normalize; nil for free form
	Result   Result

	exact bool // the Document, written as JSON, equals Raw except for order and white space
	same  bool // Result.Normalized equals Raw except for the order of members and white space
}

// Result is the result of one run.
type Result struct {
	Normalized any               `json:"normalized,omitzero"` // *signals.Document, or jsontext.Value for free form
	Derived    *signals.Derived  `json:"derived,omitzero"`
	Warnings   []signals.Warning `json:"warnings"`
}

// Pipeline holds the steps for each shape of payload, in order.
type Pipeline struct {
	Signals  []Step
	FreeForm []Step
}

// Default returns the pure steps.
func Default() Pipeline {
	return Pipeline{
		Signals: []Step{
			{"decode", decode},
			{"validate", validate},
			{"normalize", normalize},
			{"derive", derive},
		},
		FreeForm: []Step{
			{"normalize", normalizeFreeForm},
		},
	}
}

// Run is Default().Run, but the result always includes the member "normalized".
func Run(ctx context.Context, raw []byte) (stdjson.RawMessage, error) {
	state, err := Default().run(ctx, raw)
	if err != nil {
		return nil, err
	}
	return state.encode(false)
}

// Run takes raw through the steps for its shape and returns the result as a
// JSON object: normalized, derived (signals only) and warnings. Most payloads
// are in normal form. Then same is true and the result has no member
// "normalized", which would equal raw except for the order of members and white
// space.
//
// The error is a payload.Faults if the payload is wrong. Otherwise it names the
// step that failed and wraps its error, or that of ctx, which is checked before
// each step.
func (p Pipeline) Run(ctx context.Context, raw []byte) (result stdjson.RawMessage, same bool, err error) {
	state, err := p.run(ctx, raw)
	if err != nil {
		return nil, false, err
	}
	result, err = state.encode(state.same)
	return result, state.same, err
}

func (p Pipeline) run(ctx context.Context, raw []byte) (*State, error) {
	meta, doc, exact, faults := signals.Inspect(raw)
	if err := faults.Err(); err != nil {
		return nil, err
	}
	steps := p.FreeForm
	if meta.Signals() {
		steps = p.Signals
	}
	state := &State{Raw: raw, Meta: meta, Document: doc, exact: exact, Result: Result{Warnings: []signals.Warning{}}}
	for _, step := range steps {
		if err := runStep(ctx, step, state); err != nil {
			return nil, err
		}
	}
	return state, nil
}

// encode returns the result as JSON. When asSubmitted is true, it omits
// normalized, which the payload itself holds.
func (s *State) encode(asSubmitted bool) (stdjson.RawMessage, error) {
	result, size := s.Result, sizeOfRest
	if asSubmitted {
		result.Normalized = nil
	} else {
		size += len(s.Raw) + len(s.Raw)/8
	}
	raw, err := payload.AppendStruct(make([]byte, 0, size), &result)
	if err != nil {
		return nil, fmt.Errorf("encode the result: %w", err)
	}
	return raw, nil
}

// sizeOfRest is the size in bytes, at most, of a result without warnings and
// without the normal form of the payload. A longer result costs a second
// allocation.
const sizeOfRest = 512

func runStep(ctx context.Context, step Step, state *State) error {
	err := ctx.Err()
	if err == nil {
		err = step.Do(ctx, state)
	}
	if _, wrong := errors.AsType[payload.Faults](err); err == nil || wrong {
		return err
	}
	return fmt.Errorf("%s: %w", step.Name, err)
}

func decode(_ context.Context, s *State) error {
	if s.Document != nil { // Inspect has read it
		return nil
	}
	doc, faults := signals.Decode(s.Raw)
	s.Document = doc
	return faults.Err()
}

func validate(_ context.Context, s *State) error {
	return signals.Validate(s.Document).Err()
}

func normalize(_ context.Context, s *State) error {
	normal, changed := signals.Normalize(s.Document)
	s.Document, s.Result.Normalized, s.same = normal, normal, s.exact && !changed
	return nil
}

func derive(_ context.Context, s *State) error {
	derived, warnings := signals.Derive(s.Document)
	s.Result.Derived = &derived
	s.Result.Warnings = append(s.Result.Warnings, warnings...)
	return nil
}

func normalizeFreeForm(_ context.Context, s *State) error {
	normalized, changed, faults := payload.NormalizeFreeForm(s.Raw, knownFields())
	s.Result.Normalized, s.same = jsontext.Value(normalized), !changed
	return faults.Err()
}

// knownFields returns the numeric and boolean fields of the signals shape.
// Strings of free-form payloads under the same names are read in the same way.
// The table is made on first use and must not be modified.
var knownFields = sync.OnceValue(func() payload.KnownFields {
	known := payload.KnownFields{}
	for _, f := range signals.Fields() {
		name := f.Path[len(f.Path)-1]
		switch f.Type {
		case signals.TypeNumber:
			known[name] = payload.NumberField
		case signals.TypeBoolean:
			known[name] = payload.BooleanField
		}
	}
	return known
})
