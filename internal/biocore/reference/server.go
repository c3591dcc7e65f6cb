package reference

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/leomutto/pilot-in-a-box/internal/biocore"
	"github.com/leomutto/pilot-in-a-box/jobs/payload"
	"github.com/leomutto/pilot-in-a-box/jobs/signals"
)

const (
	// Name is how the server calls itself wherever its name is shown.
	Name = "reference model"
	// Version is the version of the rules.
	Version = "1.0"

	maxBody = 1 << 20 // bytes of a request
)

// Options tunes a Server. The zero value answers without a token and without
// Retry-After.
type Options struct {
	// Token is the bearer token that callers must send; "" requires none.
	Token string
	// RetryAfter is sent with the statuses 429 and 503 of a failing server, in
	// whole seconds; 0 sends no such header.
	RetryAfter time.Duration
	// DripEvery is the time between two bytes of a dripping answer; 100 ms if 0.
	DripEvery time.Duration
}

// Server is an http.Handler that speaks BioCore's contract. It can be used by
// several goroutines at once.
type Server struct {
	options Options
	mux     *http.ServeMux
	failure atomic.Value // Failure
}

// New returns a server that does not fail.
func New(o Options) *Server {
	s := &Server{options: o, mux: http.NewServeMux()}
	s.SetFailure(NoFailure)
	s.mux.HandleFunc("GET /health", s.health)
	s.mux.HandleFunc("GET /version", s.version)
	s.mux.HandleFunc("POST /recommend", s.recommend)
	return s
}

// SetFailure chooses how the server fails from the next call on.
func (s *Server) SetFailure(f Failure) { s.failure.Store(f) }

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.options.Token != "" && r.Header.Get("Authorization") != "Bearer "+s.options.Token {
		writeError(w, http.StatusUnauthorized, nil, biocore.ErrorStatus{Code: "unauthorized", Message: "a bearer token is required"})
		return
	}
	failure, _ := s.failure.Load().(Failure)
	if s.failTransport(failure, w, r) {
		return
	}
	s.mux.ServeHTTP(w, r)
}

func (s *Server) health(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]string{"status": "ok", "service": Name})
}

func (s *Server) version(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]any{"schema_version": signals.Version, "model": model()})
}

func (s *Server) recommend(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		status := http.StatusBadRequest
		if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
			status = http.StatusRequestEntityTooLarge
		}
		writeError(w, status, nil, biocore.ErrorStatus{Code: "unreadable", Message: "the body could not be read"})
		return
	}
	document, faults := readRequest(body)
	if len(faults) > 0 {
		writeError(w, http.StatusUnprocessableEntity, document, biocore.ErrorStatus{Code: "invalid_request", Message: faults.Error()})
		return
	}
	sum := sha256.Sum256(body)
	answer := answerTo(document, hex.EncodeToString(sum[:]))
	encoded, err := json.Marshal(answer)
	if err != nil { // figures that are too large for a 64-bit float
		writeError(w, http.StatusUnprocessableEntity, document, biocore.ErrorStatus{Code: "invalid_request", Message: "the figures of the request are too large"})
		return
	}
	failure, _ := s.failure.Load().(Failure)
	s.write(failure, w, r, document, answer, encoded)
}

// readRequest reads a request more leniently than MASS does: members that the
// rules do not know are ignored. It returns the document as far as it was read.
func readRequest(body []byte) (*signals.Document, payload.Faults) {
	document := new(signals.Document)
	faults := payload.Check(body, payload.Limits{})
	if len(faults) > 0 {
		return document, faults
	}
	if err := json.Unmarshal(body, document); err != nil {
		faults.Add("", "does not have the shape of a request: %v", err)
		return document, faults
	}
	faults = signals.Validate(document)
	for _, required := range []struct {
		pointer string
		missing bool
	}{
		{"/schema_version", document.SchemaVersion != signals.Version},
		{"/request/signals/energy/it_load_kw", document.Request.Signals.Energy.ITLoadKW == ""},
		{"/request/signals/energy/facility_power_kw", document.Request.Signals.Energy.FacilityPowerKW == ""},
		{"/request/constraints/hard/no_control_actions", !document.Request.Constraints.Hard.NoControlActions.True()},
	} {
		if required.missing {
			faults.Add("", "lacks %s, or it has another value than schema %s requires", required.pointer, signals.Version)
		}
	}
	return document, faults
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the caller is gone if it fails
}

// writeError answers in the envelope of an error. A Retryable of nil becomes
// false.
func writeError(w http.ResponseWriter, code int, d *signals.Document, status biocore.ErrorStatus) {
	envelope := biocore.ErrorAnswer{SchemaVersion: signals.Version, Status: status}
	if d != nil {
		envelope.CorrelationID, envelope.Trace = d.CorrelationID, d.Trace
	}
	if status.Retryable == nil {
		envelope.Status.Retryable = new(bool)
	}
	envelope.Status.Message = fmt.Sprintf("%s (%s)", strings.TrimSpace(status.Message), Name)
	writeJSON(w, code, envelope)
}
