package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"sync"
	"testing"

	"github.com/hibiken/asynq"
	"github.com/lib/pq"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/jobs/queue"
	"github.com/leomutto/pilot-in-a-box/jobs/signals"
)

func TestLifeOfARequest(t *testing.T) {
	t.Parallel()
	e := setup(t)
	for _, slash := range []string{"", "/"} {
		body := `{"payload":{"schema_version":"1.0-simple","site_id":" site-9 ","note":"<&> ü"},"priority":"high"}`
		posted := e.call(http.MethodPost, "/mass-requests"+slash, body)
		require.Equal(t, http.StatusCreated, posted.StatusCode, posted.text)
		path := posted.Header.Get("Location")
		require.Equal(t, fmt.Sprintf("/mass-requests/%d", posted.id()), path)
		require.Contains(t, posted.text, `"note":"<&> ü"`, "nothing is escaped needlessly")
		require.Regexp(t, regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$`), posted.json["created_at"])
		require.Equal(t, "site-9", posted.json["site_id"])
		require.Equal(t, "high", posted.json["priority"])
		require.Equal(t, "pending", posted.json["status"])
		for _, name := range []string{"result", "error", "faults", "correlation_id", "cluster_id", "started_at", "finished_at"} {
			require.Contains(t, posted.json, name)
			require.Nil(t, posted.json[name], name)
		}
		require.Equal(t, "key:1", posted.json["created_by"])

		got := e.call(http.MethodGet, path+slash, "")
		require.Equal(t, http.StatusOK, got.StatusCode)
		require.Equal(t, posted.json, got.json, "what was answered is what is stored")
		head := e.call(http.MethodHead, path+slash, "")
		require.Equal(t, http.StatusOK, head.StatusCode)
		require.Equal(t, got.Header.Get("Content-Length"), head.Header.Get("Content-Length"))
		require.Empty(t, head.text)

		cancelled := e.call(http.MethodPatch, path+"/status"+slash, `{"status":"cancelled"}`)
		require.Equal(t, http.StatusOK, cancelled.StatusCode, cancelled.text)
		require.Equal(t, "cancelled", cancelled.json["status"])
		require.NotNil(t, cancelled.json["finished_at"])

		replayed := e.call(http.MethodPatch, path+"/status"+slash, `{"status":"pending"}`)
		require.Equal(t, http.StatusOK, replayed.StatusCode, replayed.text)
		require.Equal(t, "pending", replayed.json["status"])
		require.Nil(t, replayed.json["finished_at"])
		require.NotEqual(t, posted.json["batch_id"], replayed.json["batch_id"])

		require.Equal(t, http.StatusOK, e.call(http.MethodGet, "/mass-requests"+slash, "").StatusCode)
		deleted := e.call(http.MethodDelete, path+slash, "")
		require.Equal(t, http.StatusNoContent, deleted.StatusCode)
		require.Empty(t, deleted.text)
		e.call(http.MethodGet, path+slash, "").problem(t, http.StatusNotFound, "not_found")
		e.call(http.MethodDelete, path+slash, "").problem(t, http.StatusNotFound, "not_found")
		e.call(http.MethodPatch, path+"/status"+slash, `{"status":"pending"}`).problem(t, http.StatusNotFound, "not_found")
	}
}

func TestSignalsAreInspected(t *testing.T) {
	t.Parallel()
	e := setup(t)
	a := e.call(http.MethodPost, "/mass-requests/", `{"priority":null,"payload":`+string(signals.Example())+`}`)
	require.Equal(t, http.StatusCreated, a.StatusCode, a.text)
	require.Equal(t, "1.1", a.json["schema_version"])
	require.Equal(t, "site-1", a.json["site_id"])
	require.Equal(t, "gpu-a", a.json["cluster_id"])
	require.Equal(t, "corr-7f3a", a.json["correlation_id"])
	require.Equal(t, "default", a.json["priority"])
}

func TestNumbersStayAsTheyAre(t *testing.T) {
	t.Parallel()
	e := setup(t)
	payload := `{"big": 123456789012345678901234567890, "exact": 0.10000000000000000000001, "zeros": 1.50, "id": 9007199254740993}`
	id := e.submit(payload)
	text := e.call(http.MethodGet, fmt.Sprintf("/mass-requests/%d", id), "").text
	for _, literal := range []string{"123456789012345678901234567890", "0.10000000000000000000001", "1.50", "9007199254740993"} {
		require.Contains(t, text, literal)
	}
}

func TestEachSubmissionIsEnqueued(t *testing.T) {
	t.Parallel()
	e := setup(t)
	a := e.call(http.MethodPost, "/mass-requests/", `{"payload":{},"priority":"low"}`)
	batch, err := a.json["batch_id"].(json.Number).Int64()
	require.NoError(t, err)
	e.enqueued(jobs.BatchRef{ID: batch, Priority: jobs.Low})

	e.call(http.MethodPatch, a.Header.Get("Location")+"/status", `{"status":"cancelled"}`)
	a = e.call(http.MethodPatch, a.Header.Get("Location")+"/status", `{"status":"pending"}`)
	replay, err := a.json["batch_id"].(json.Number).Int64()
	require.NoError(t, err)
	e.enqueued(jobs.BatchRef{ID: replay, Priority: jobs.Low})
}

// Many at once: their statements share batches, and each task must still name exactly
// the requests whose rows name its batch.
func TestTasksCarryWhatTheirRowsSay(t *testing.T) {
	t.Parallel()
	e := setup(t)
	const clients, each = 64, 20
	e.token() // made once, before all need it
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			for i := range each {
				a := e.call(http.MethodPost, "/mass-requests/", fmt.Sprintf(`{"payload":{},"priority":%q}`, jobs.Priorities()[(c+i)%3]))
				assert.Equal(t, http.StatusCreated, a.StatusCode, a.text)
			}
		})
	}
	wg.Wait()
	var rows []struct {
		Batch    int64         `db:"batch_id"`
		Priority jobs.Priority `db:"priority"`
		Lane     jobs.Lane     `db:"lane"`
		Requests pq.Int64Array `db:"requests"`
	}
	require.NoError(t, e.db.SelectContext(t.Context(), &rows, `
        SELECT batch_id, priority, lane, array_agg(id ORDER BY id) AS requests FROM mass_requests GROUP BY batch_id, priority, lane`))
	inspector := asynq.NewInspectorFromRedisClient(e.rdb)
	total, batches := 0, map[int64]bool{}
	for _, r := range rows {
		require.False(t, batches[r.Batch], "batch %d has two queues", r.Batch)
		batches[r.Batch] = true
		total += len(r.Requests)
		e.enqueued(jobs.BatchRef{ID: r.Batch, Priority: r.Priority, Lane: r.Lane})
		task, err := inspector.GetTaskInfo(jobs.QueueName(r.Priority, r.Lane), jobs.TaskID(r.Batch))
		require.NoError(t, err)
		p, err := jobs.ParseBatchPayload(task.Payload)
		require.NoError(t, err)
		require.Equal(t, jobs.BatchPayload{Batch: r.Batch}, p)
	}
	require.Equal(t, clients*each, total)
}

// enqueued waits until a live task carries each of the batches.
func (e *system) enqueued(refs ...jobs.BatchRef) {
	e.t.Helper()
	eventually(e.t, "a task for every batch", func() bool {
		missing, err := queue.WithoutTask(e.t.Context(), e.rdb, refs)
		require.NoError(e.t, err)
		return len(missing) == 0
	})
}

func TestCancellationsAreAnnounced(t *testing.T) {
	t.Parallel()
	e := setup(t)
	ctx, stop := context.WithCancel(t.Context())
	heard := make(chan int64, 1000)
	done := make(chan struct{})
	go func() {
		defer close(done)
		queue.HearCancels(ctx, e.rdb, func(id int64) { heard <- id })
	}()
	defer func() { stop(); <-done }()
	// The channel is shared by all databases of the Redis, so only ids far from other tests' tell anything.
	const marker, subscribed = 7_000_000_000, -7_000_000_000
	eventually(t, "the subscription", func() bool {
		require.NoError(t, queue.AnnounceCancel(ctx, e.rdb, subscribed))
		for {
			select {
			case id := <-heard:
				if id == subscribed {
					return true
				}
			default:
				return false
			}
		}
	})
	_, err := e.db.ExecContext(ctx, `SELECT setval('mass_requests_id_seq', $1)`, marker)
	require.NoError(t, err)

	cancelled, deleted := e.submit(`{}`), e.submit(`{}`)
	e.call(http.MethodPatch, fmt.Sprintf("/mass-requests/%d/status", cancelled), `{"status":"cancelled"}`)
	e.call(http.MethodDelete, fmt.Sprintf("/mass-requests/%d", deleted), "")
	want := map[int64]bool{cancelled: true, deleted: true}
	for len(want) > 0 {
		select {
		case id := <-heard:
			delete(want, id)
		case <-e.t.Context().Done():
			t.Fatal("not announced")
		}
	}
}

func TestTransitionsOfPeople(t *testing.T) {
	t.Parallel()
	e := setup(t)
	// SQL brings requests into each state; the columns that a state needs come with it.
	into := map[jobs.Status]string{
		jobs.StatusPending:    `UPDATE mass_requests SET status = 'pending' WHERE id = $1`,
		jobs.StatusProcessing: `UPDATE mass_requests SET status = 'processing', claimed_by = 1 WHERE id = $1`,
		jobs.StatusDone:       `UPDATE mass_requests SET status = 'done', result = '{}', finished_at = now() WHERE id = $1`,
		jobs.StatusFailed:     `UPDATE mass_requests SET status = 'failed', error = 'no', finished_at = now() WHERE id = $1`,
		jobs.StatusCancelled:  `UPDATE mass_requests SET status = 'cancelled', finished_at = now() WHERE id = $1`,
	}
	for _, from := range jobs.Statuses() {
		for _, to := range jobs.Statuses() {
			id := e.submit(`{}`)
			_, err := e.db.ExecContext(t.Context(), into[from], id)
			require.NoError(t, err)
			a := e.call(http.MethodPatch, fmt.Sprintf("/mass-requests/%d/status", id), `{"status":"`+string(to)+`"}`)
			if _, legal := jobs.PersonAction(from, to); legal {
				require.Equal(t, http.StatusOK, a.StatusCode, "%s to %s: %s", from, to, a.text)
				require.Equal(t, string(to), a.json["status"])
				continue
			}
			a.problem(t, http.StatusConflict, "transition_not_allowed")
			require.Equal(t, string(from), a.json["current_status"])
			var allowed []any
			for _, s := range jobs.PersonTargets(from) {
				allowed = append(allowed, string(s))
			}
			require.Equal(t, allowed, a.json["allowed"])
		}
	}
}
