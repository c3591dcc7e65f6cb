package api_test

import (
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/internal/auth"
	"github.com/leomutto/pilot-in-a-box/jobs"
)

func TestRootLeadsToTheDocs(t *testing.T) {
	t.Parallel()
	a := setup(t).call(http.MethodGet, "/", "")
	require.Equal(t, http.StatusFound, a.StatusCode)
	require.Equal(t, "/docs", a.Header.Get("Location"))
}

func TestDocsAskNobodyElse(t *testing.T) {
	t.Parallel()
	e := setup(t)
	links := regexp.MustCompile(`(?:src|href)\s*=\s*"([^"]*)"`)
	for _, path := range []string{"/docs", "/docs/"} {
		page := e.call(http.MethodGet, path, "")
		require.Equal(t, http.StatusOK, page.StatusCode)
		require.Equal(t, http.StatusOK, e.call(http.MethodHead, path, "").StatusCode)
		found := links.FindAllStringSubmatch(page.text, -1)
		require.GreaterOrEqual(t, len(found), 4)
		for _, link := range found {
			require.True(t, strings.HasPrefix(link[1], "/docs/"), link[1])
			asset := e.call(http.MethodGet, link[1], "")
			require.Equal(t, http.StatusOK, asset.StatusCode, link[1])
			require.NotEmpty(t, asset.text)
		}
		require.Contains(t, page.text, `validatorUrl: null`, "no online validator")
		require.Contains(t, page.text, "/openapi.json")
		for _, address := range regexp.MustCompile(`https?://[^"'\s]*`).FindAllString(page.text, -1) {
			require.Regexp(t, `^https?://$`, address, "only the comparison of schemes")
		}
	}
	e.call(http.MethodPost, "/docs", "{}").problem(t, http.StatusMethodNotAllowed, "method_not_allowed")
	e.call(http.MethodGet, "/docsevil", "").problem(t, http.StatusNotFound, "not_found")
}

func TestMonitoring(t *testing.T) {
	t.Parallel()
	e := setup(t)
	for _, path := range []string{"/monitoring", "/monitoring/", "/monitoring/queues/default"} {
		page := e.call(http.MethodGet, path, "")
		require.Equal(t, http.StatusOK, page.StatusCode)
		require.Contains(t, page.text, "Asynq")
		require.Equal(t, http.StatusOK, e.call(http.MethodHead, path, "").StatusCode)
		script := regexp.MustCompile(`src="(/monitoring/[^"]+\.js)"`).FindStringSubmatch(page.text)
		require.NotNil(t, script, page.text)
		require.Contains(t, e.call(http.MethodGet, script[1], "").Header.Get("Content-Type"), "javascript", "or nosniff would stop it")
	}
	e.call(http.MethodGet, "/monitoringevil", "").problem(t, http.StatusNotFound, "not_found")

	id := e.submit(`{}`)
	var batch int64
	require.NoError(t, e.db.GetContext(t.Context(), &batch, `SELECT batch_id FROM mass_requests WHERE id = $1`, id))
	e.enqueued(jobs.BatchRef{ID: batch, Priority: jobs.Default})
	const tasks = "/monitoring/api/queues/default/pending_tasks"
	require.Contains(t, e.call(http.MethodGet, tasks, "").text, `"payload":"batch 1"`)

	// A task with a result is shown readably as well.
	_, err := asynq.NewClientFromRedisClient(e.rdb).EnqueueContext(t.Context(),
		asynq.NewTask("other", []byte("plain text")), asynq.Queue("default"), asynq.Retention(time.Hour))
	require.NoError(t, err)
	require.Contains(t, e.call(http.MethodGet, tasks, "").text, `"payload":"plain text"`)

	task := tasks + "/" + jobs.TaskID(batch)
	for _, role := range []auth.Role{auth.Viewer, auth.Operator} {
		other := e.as(role)
		require.Contains(t, other.call(http.MethodGet, "/monitoring", "").text, `FLAG_READ_ONLY="true"`)
		require.Contains(t, other.call(http.MethodGet, tasks, "").text, "batch 1")
		other.call(http.MethodDelete, task, "").problem(t, http.StatusForbidden, "forbidden")
		other.call(http.MethodPost, task+":archive", "").problem(t, http.StatusForbidden, "forbidden")
		other.call(http.MethodPost, "/monitoring/api/queues/default:pause", "").problem(t, http.StatusForbidden, "forbidden")
	}
	e.enqueued(jobs.BatchRef{ID: batch, Priority: jobs.Default})
	require.Contains(t, e.call(http.MethodGet, "/monitoring", "").text, `FLAG_READ_ONLY="false"`)
	require.Equal(t, http.StatusNoContent, e.call(http.MethodDelete, task, "").StatusCode)
}

func TestPagesOfOthersAskNobodyElse(t *testing.T) {
	t.Parallel()
	e := setup(t)
	tags := regexp.MustCompile(`<(?:script|style|link rel="stylesheet")[^>]*>`)
	for _, path := range []string{"/docs", "/monitoring", "/monitoring/queues/default"} {
		page := e.call(http.MethodGet, path, "")
		require.NotRegexp(t, `(?:href|src)="(?:https?:)?//`, page.text)
		nonce := regexp.MustCompile(`script-src 'nonce-([A-Z0-9]{26})'`).FindStringSubmatch(page.Header.Get("Content-Security-Policy"))
		require.NotNil(t, nonce)
		found := tags.FindAllString(page.text, -1)
		require.GreaterOrEqual(t, len(found), 4)
		for _, tag := range found {
			require.Contains(t, tag, `nonce="`+nonce[1]+`"`)
		}
		require.NotContains(t, e.call(http.MethodGet, path, "").text, nonce[1], "each answer has its own")
		require.Equal(t, "no-store", page.Header.Get("Cache-Control"))
	}
}
