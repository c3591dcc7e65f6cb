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

// docsPage serves Swagger UI, whose assets are embedded in the binary.
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
		asset.Send(w, "private, no-cache") // browsers revalidate it each time, and usually get 304
	})
}

// monitoring serves Asynqmon on the server's own Redis client. Only an admin
// gets the page that can act on the queues; other callers get a read-only page.
// The role check of the route comes before both pages.
func (s *Server) monitoring() http.Handler {
	acting, reading := s.asynqmon(false), s.asynqmon(true)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodHead { // net/http omits the body of the response
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

// asynqmon serves Asynqmon, either read-only or with actions. Asynqmon serves
// its page at every path that belongs neither to its API nor to an asset, so
// the page is recognized by its content.
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

// shared gives Asynqmon a Redis client that other parts of the server also use.
// Asynqmon must therefore never be closed, because it would close the client.
type shared struct{ rdb redis.UniversalClient }

// MakeRedisClient implements asynq.RedisConnOpt.
func (s shared) MakeRedisClient() any { return s.rdb }

// formatPayload returns what Asynqmon shows for a task, such as "batch 42".
func formatPayload(taskType string, raw []byte) string {
	if taskType != jobs.TypeBatch {
		return asynqmon.DefaultPayloadFormatter(taskType, raw)
	}
	p, err := jobs.ParseBatchPayload(raw)
	if err != nil {
		return asynqmon.DefaultPayloadFormatter(taskType, raw)
	}
	return fmt.Sprintf("batch %d", p.Batch)
}

// formatResult returns what Asynqmon shows for a finished task, such as
// "3 claimed: 2 done, 1 failed".
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
