package biocore_test

import (
	"context"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/internal/biocore"
	"github.com/leomutto/pilot-in-a-box/internal/biocore/reference"
)

func TestPoller(t *testing.T) {
	t.Parallel()
	b := newBox(t, reference.Options{}, nil)
	p := biocore.NewPoller(newClient(t, b.url, nil), time.Millisecond)
	require.Zero(t, p.Condition())
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		p.Run(ctx)
		close(ended)
	}()
	until := func(what string, met func(biocore.Condition) bool) biocore.Condition {
		t.Helper()
		require.Eventually(t, func() bool { return met(p.Condition()) }, long, time.Millisecond, what)
		return p.Condition()
	}
	up := until("up", func(c biocore.Condition) bool { return c.Up && c.Model.Name == reference.Name })
	require.Empty(t, up.Problem)
	require.False(t, up.Since.IsZero())

	b.SetFailure(reference.Status503)
	down := until("down", func(c biocore.Condition) bool { return !c.Up })
	require.Contains(t, down.Problem, "503")
	require.Equal(t, reference.Name, down.Model.Name, "the last model stays known")
	require.True(t, down.Since.After(up.Since))

	b.SetFailure(reference.NoFailure)
	until("up again", func(c biocore.Condition) bool { return c.Up && c.Problem == "" })
	cancel()
	<-ended
}

func TestVersionMustNameAModel(t *testing.T) {
	t.Parallel()
	for _, body := range []string{``, `{}`, `[]`, `{"model":{"name":"x"}}`, `{"model":"x"}`} {
		b := newBox(t, reference.Options{}, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) })
		_, err := newClient(t, b.url, nil).Version(t.Context())
		require.ErrorContains(t, err, "did not name its model", body)
	}
}
