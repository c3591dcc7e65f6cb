package web

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWhichFormIsAccepted(t *testing.T) {
	t.Parallel()
	const asJSON, asStream, neither = MediaJSON, MediaEventStream, ""
	for accept, want := range map[string]string{
		"":                                  asJSON,
		"*/*":                               asJSON,
		"application/json":                  asJSON,
		"application/*":                     asJSON,
		"Application/JSON; charset=utf-8":   asJSON,
		"text/event-stream":                 asStream,
		"text/*":                            asStream,
		"text/event-stream, */*":            asStream,
		"text/event-stream, application/*":  asStream,
		"text/*, application/json":          asJSON,
		"text/event-stream;q=0.5, */*":      asJSON,
		"text/event-stream, */*;q=0.1":      asStream,
		"application/json;q=0, */*":         asStream,
		"application/json, text/*;q=0.9":    asJSON,
		"text/html, */*;q=0.8":              asJSON, // a browser
		"text/html":                         neither,
		"text/event-stream;q=0":             neither,
		"*/*;q=0":                           neither,
		"nonsense":                          neither,
		"text/event-stream;q=x":             neither,
		"text/event-stream;q=2":             neither,
		"text/event-stream;q=-1":            neither,
		"text/event-stream;q=NaN":           neither,
		"nonsense, text/event-stream;q=0.1": asStream,
	} {
		got, ok := Negotiate([]string{accept}, MediaJSON, MediaEventStream)
		require.Equal(t, want, got, accept)
		require.Equal(t, want != neither, ok, accept)
	}
	for _, several := range [][]string{nil, {"text/html", "application/json"}} {
		got, ok := Negotiate(several, MediaJSON, MediaEventStream)
		require.True(t, ok)
		require.Equal(t, MediaJSON, got)
	}
}

func TestOffersOfThree(t *testing.T) {
	t.Parallel()
	for accept, want := range map[string]string{
		"": MediaJSON, "*/*": MediaJSON, "application/*": MediaJSON, "text/*": MediaCSV, "text/csv": MediaCSV, "application/x-ndjson": MediaNDJSON,
		"text/csv;q=0.5, application/json;q=0.4": MediaCSV, "*/*, application/x-ndjson": MediaNDJSON, "text/html": "",
		"application/json;q=0, */*": MediaCSV, "text/csv;q=2, application/json;q=0.1": MediaJSON,
	} {
		got, ok := Negotiate([]string{accept}, MediaJSON, MediaCSV, MediaNDJSON)
		require.Equal(t, want, got, accept)
		require.Equal(t, want != "", ok, accept)
	}
	require.Equal(t, "This resource is available as application/json, text/csv or application/x-ndjson.",
		NotAcceptable(MediaJSON, MediaCSV, MediaNDJSON).Detail)
}
