package reference

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/leomutto/pilot-in-a-box/internal/biocore"
	"github.com/leomutto/pilot-in-a-box/jobs/signals"
)

// Failure is a way to fail.
type Failure string

// The failures. Those of the first group affect every path; the others affect
// only answers of POST /recommend.
const (
	NoFailure Failure = "none"

	Hang      Failure = "hang" // never answers
	Status429 Failure = "429"
	Status500 Failure = "500"
	Status502 Failure = "502"
	Status503 Failure = "503"
	Status504 Failure = "504"
	Reset     Failure = "reset" // breaks the connection

	Drip              Failure = "drip"               // one byte at a time
	Garbage           Failure = "garbage"            // bytes that are not JSON
	Huge              Failure = "huge"               // an answer of 64 MiB
	WrongSchema       Failure = "wrong-schema"       // members missing, unknown, and of other types
	WrongRequest      Failure = "wrong-request"      // the answer to another request
	ControlActions    Failure = "control-actions"    // claims to control equipment
	BrokenConstraints Failure = "broken-constraints" // a setpoint change beyond every limit
)

// Failures lists every failure, and NoFailure first.
func Failures() []Failure {
	return []Failure{
		NoFailure, Hang, Status429, Status500, Status502, Status503, Status504, Reset,
		Drip, Garbage, Huge, WrongSchema, WrongRequest, ControlActions, BrokenConstraints,
	}
}

// ParseFailure reads the name of a failure.
func ParseFailure(name string) (Failure, error) {
	if f := Failure(name); slices.Contains(Failures(), f) {
		return f, nil
	}
	names := make([]string, 0, len(Failures()))
	for _, f := range Failures() {
		names = append(names, string(f))
	}
	return "", fmt.Errorf("%q is not one of %s", name, strings.Join(names, ", "))
}

const hugeBytes = 64 << 20

// failTransport fails before a request is read, and reports whether it did.
func (s *Server) failTransport(f Failure, w http.ResponseWriter, r *http.Request) bool {
	switch f {
	case Hang:
		// net/http notices that the caller left only after the body was read.
		_, _ = io.Copy(io.Discard, http.MaxBytesReader(w, r.Body, maxBody))
		<-r.Context().Done()
	case Reset:
		reset(w)
	case Status429, Status500, Status502, Status503, Status504:
		code, _ := strconv.Atoi(string(f)) // the name is the code
		if s.options.RetryAfter > 0 && (f == Status429 || f == Status503) {
			w.Header().Set("Retry-After", strconv.Itoa(int(s.options.RetryAfter/time.Second)))
		}
		retryable := f != Status500
		writeError(w, code, nil, biocore.ErrorStatus{Code: "unavailable", Message: "fails on purpose", Retryable: &retryable})
	default:
		return false
	}
	return true
}

// reset ends a connection with a TCP reset.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler) // ends the connection as well, but less abruptly
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // without it the peer sees an orderly end
	}
	_ = conn.Close()
}

// write sends an answer, spoiled as the failure demands.
func (s *Server) write(f Failure, w http.ResponseWriter, r *http.Request, d *signals.Document, answer *biocore.Answer, encoded []byte) {
	response := &answer.Response
	switch f {
	case Drip:
		s.drip(w, r, encoded)
		return
	case Garbage:
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte("\x00\xff{\"response\": <html>"))
		return
	case Huge:
		huge(w)
		return
	case WrongSchema:
		writeJSON(w, http.StatusOK, map[string]any{
			"schema_version": signals.Version, "correlation_id": d.CorrelationID, "surprise": true,
			"response": map[string]any{"request_id": 7, "recommendations": map[string]any{"first": "raise the setpoint"}},
		})
		return
	case WrongRequest:
		answer.CorrelationID += "-other"
		response.RequestID += "-other"
		response.IdempotencyKey += "-other"
	case ControlActions:
		response.Summary.Guardrails.ShadowReadOnlyEnforced = false
		response.Audit.NoControlActionsEnforced = false
		response.Audit.Mode = "control"
		response.Recommendations = []biocore.Recommendation{spoiled(response, "execute_setpoint_write", 0.1)}
	case BrokenConstraints:
		response.Recommendations = []biocore.Recommendation{spoiled(response, "setpoint_change", 25)}
	}
	writeJSON(w, http.StatusOK, answer)
}

// spoiled returns a recommendation whose shape is right, to raise a setpoint.
func spoiled(response *biocore.Response, kind string, change float64) biocore.Recommendation {
	return biocore.Recommendation{
		RecID: response.RequestID + "-spoiled", Priority: 1, Category: "cooling",
		Action:         biocore.Action{Type: kind, Target: "room_setpoint_c", Current: 20, Suggested: 20 + change, Delta: change, Units: "C"},
		Explainability: biocore.Explainability{Narrative: "Reference model: wrong on purpose.", ReasonCodes: []string{"wrong_on_purpose"}, OrganismTags: []string{Name}},
		Trace: biocore.Provenance{InputFingerprint: "none", FeatureSetVersion: Version, DecisionID: "spoiled",
			GeneratedAtUTC: "2026-01-01T00:00:00Z"},
	}
}

// drip sends one byte at a time until the caller leaves.
func (s *Server) drip(w http.ResponseWriter, r *http.Request, encoded []byte) {
	every := s.options.DripEvery
	if every <= 0 {
		every = 100 * time.Millisecond
	}
	w.Header().Set("Content-Type", "application/json")
	flush := http.NewResponseController(w)
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for i := range encoded {
		if _, err := w.Write(encoded[i : i+1]); err != nil || flush.Flush() != nil {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-ticker.C:
		}
	}
}

// huge sends the start of an answer and then hugeBytes of one string.
func huge(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	chunk := []byte(strings.Repeat("x", 64<<10))
	if _, err := w.Write([]byte(`{"schema_version":"`)); err != nil {
		return
	}
	for sent := 0; sent < hugeBytes; sent += len(chunk) {
		if _, err := w.Write(chunk); err != nil {
			return
		}
	}
}
