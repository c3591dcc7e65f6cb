package api

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWhichFormIsAccepted(t *testing.T) {
	t.Parallel()
	const asJSON, asStream, neither = "json", "stream", "neither"
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
		"nonsense, text/event-stream;q=0.1": asStream,
	} {
		got := asJSON
		switch stream, err := wantsStream([]string{accept}); {
		case err != nil:
			got = neither
		case stream:
			got = asStream
		}
		require.Equal(t, want, got, accept)
	}
	for _, several := range [][]string{nil, {"text/html", "application/json"}} {
		stream, err := wantsStream(several)
		require.NoError(t, err)
		require.False(t, stream)
	}
}
