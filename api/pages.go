package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/hibiken/asynqmon"
	"github.com/redis/go-redis/v9"
	"github.com/swaggest/swgui/v5emb"

	"github.com/leomutto/pilot-in-a-box/internal/auth"
	"github.com/leomutto/pilot-in-a-box/internal/web"
	"github.com/leomutto/pilot-in-a-box/jobs"
)

// docsPage is Swagger UI; its assets are part of the binary.
func docsPage() http.Handler {
	ui := v5emb.New("MASS", "/openapi.json", "/docs/")
	front := web.NewNoncePage(web.AnswerOf(ui, &http.Request{Method: http.MethodGet, URL: &url.URL{Path: "/docs/"}}).Body())
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.TrimSuffix(r.URL.Path, "/") == "/docs" {
			front.ServeHTTP(w, r)
			return
		}
		asset := web.AnswerOf(ui, r)
		if asset.Status == http.StatusNotFound {
			web.NotFound(w, r)
			return
		}
		asset.Send(w, "private, no-cache") // revalidated each time, and seldom sent again
	})
}

// monitoring is Asynqmon on the server's own Redis client. Whoever may not act
// on the queues is shown a page without the means; the table of access stands
// before both.
func (s *Server) monitoring() http.Handler {
	acting, reading := s.asynqmon(false), s.asynqmon(true)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodHead { // the server leaves the body out by itself
			get := *r
			get.Method = http.MethodGet
			r = &get
		}
		if who, _ := auth.IdentityOf(r.Context()); who.Role.Includes(auth.Admin) {
			acting.ServeHTTP(w, r)
			return
		}
		reading.ServeHTTP(w, r)
	})
}

// asynqmon serves one form of Asynqmon. Its page stands at every path that is
// neither its API's nor an asset's, so it is known by its content.
func (s *Server) asynqmon(readOnly bool) http.Handler {
	mon := asynqmon.New(asynqmon.Options{
		RootPath:         pathMonitoring,
		RedisConnOpt:     shared{s.rdb},
		PayloadFormatter: asynqmon.PayloadFormatterFunc(formatPayload),
		ResultFormatter:  asynqmon.ResultFormatterFunc(formatResult),
		ReadOnly:         readOnly,
	})
	original := web.AnswerOf(mon, &http.Request{Method: http.MethodGet, URL: &url.URL{Path: pathMonitoring + "/"}}).Body()
	front := web.NewNoncePage(original)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, pathMonitoring+"/api/") {
			mon.ServeHTTP(w, r)
			return
		}
		asset := web.AnswerOf(mon, r)
		if bytes.Equal(asset.Body(), original) {
			front.ServeHTTP(w, r)
			return
		}
		asset.Send(w, "private, max-age=3600")
	})
}

// shared lends Asynqmon a client that others use, too. Asynqmon must not be
// closed, therefore: it would close the client.
type shared struct{ rdb redis.UniversalClient }

// MakeRedisClient implements asynq.RedisConnOpt.
func (s shared) MakeRedisClient() any { return s.rdb }

// formatPayload is what Asynqmon shows of a task: "batch 42: requests 100 to 163".
func formatPayload(taskType string, raw []byte) string {
	if taskType != jobs.TypeBatch {
		return asynqmon.DefaultPayloadFormatter(taskType, raw)
	}
	p, err := jobs.ParseBatchPayload(raw)
	if err != nil {
		return asynqmon.DefaultPayloadFormatter(taskType, raw)
	}
	switch {
	case p.N <= 0:
		return fmt.Sprintf("batch %d", p.Batch)
	case p.N == 1:
		return fmt.Sprintf("batch %d: request %d", p.Batch, p.First)
	case p.Last-p.First == int64(p.N)-1:
		return fmt.Sprintf("batch %d: requests %d to %d", p.Batch, p.First, p.Last)
	default:
		return fmt.Sprintf("batch %d: %d requests between %d and %d", p.Batch, p.N, p.First, p.Last)
	}
}

// formatResult is what Asynqmon shows of a finished task: "3 claimed: 2 done, 1 failed".
func formatResult(taskType string, raw []byte) string {
	var sum jobs.BatchSummary
	if len(raw) == 0 || json.Unmarshal(raw, &sum) != nil {
		return asynqmon.DefaultResultFormatter(taskType, raw)
	}
	var parts []string
	for _, part := range []struct {
		n    int
		what string
	}{
		{sum.Done, "done"},
		{sum.Failed, "failed"},
		{sum.Retried, "to be tried again"},
		{sum.Released, "handed back"},
		{sum.Cancelled, "cancelled or outdated"},
	} {
		if part.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", part.n, part.what))
		}
	}
	text := fmt.Sprintf("%d claimed", sum.Claimed)
	if len(parts) > 0 {
		text += ": " + strings.Join(parts, ", ")
	}
	return text
}
