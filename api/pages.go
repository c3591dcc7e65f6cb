package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/hibiken/asynqmon"
	"github.com/redis/go-redis/v9"
	"github.com/swaggest/swgui/v5emb"

	"github.com/leomutto/pilot-in-a-box/jobs"
)

// docsHandler is Swagger UI; its assets are part of the binary.
func docsHandler() http.Handler {
	return v5emb.New("MASS", "/openapi.json", "/docs/")
}

// monitoring is Asynqmon on the server's own Redis client. It has no defense
// against other sites' forms and scripts, so it gets one here.
func (s *Server) monitoring() http.Handler {
	mon := asynqmon.New(asynqmon.Options{
		RootPath:         "/monitoring",
		RedisConnOpt:     shared{s.rdb},
		PayloadFormatter: asynqmon.PayloadFormatterFunc(formatPayload),
		ResultFormatter:  asynqmon.ResultFormatterFunc(formatResult),
	})
	guard := http.NewCrossOriginProtection()
	guard.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		writeProblem(w, r, &Problem{Status: http.StatusForbidden, Code: codeCrossOrigin, Detail: "Another site may not change anything here."})
	}))
	return guard.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodHead { // the server leaves the body out by itself
			get := *r
			get.Method = http.MethodGet
			r = &get
		}
		mon.ServeHTTP(w, r)
	}))
}

// shared lends Asynqmon a client that others use, too. Asynqmon must not be
// closed, therefore: it would close the client.
type shared struct{ rdb redis.UniversalClient }

// MakeRedisClient implements asynq.RedisConnOpt.
func (s shared) MakeRedisClient() any { return s.rdb }

// formatPayload is what Asynqmon shows of a task: "batch 42: requests 1, 2, 3".
func formatPayload(taskType string, raw []byte) string {
	if taskType != jobs.TypeBatch {
		return asynqmon.DefaultPayloadFormatter(taskType, raw)
	}
	p, err := jobs.ParseBatchPayload(raw)
	if err != nil {
		return asynqmon.DefaultPayloadFormatter(taskType, raw)
	}
	text := fmt.Sprintf("batch %d", p.Batch)
	switch len(p.Requests) {
	case 0:
		return text
	case 1:
		return text + fmt.Sprintf(": request %d", p.Requests[0])
	}
	ids := make([]string, len(p.Requests))
	for i, id := range p.Requests {
		ids[i] = strconv.FormatInt(id, 10)
	}
	return text + ": requests " + strings.Join(ids, ", ")
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
