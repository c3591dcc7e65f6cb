package queue

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// Doorbell lets an idle Asynq server wait. Without it, the server polls, and a
// latency of milliseconds takes hundreds of useless queries a second.
//
// It is a hook on the server's own Redis client. A queue that was found empty
// is not asked again until a ring for it is heard or the patience is over, so
// empty queues cost nothing. When all queues were found empty, the next query
// waits for a ring or the end of the patience as well. A lost ring costs that
// time and nothing else.
type Doorbell struct {
	queues   map[string]int // the server's queues; other servers may use the same client
	patience time.Duration  // longest time for which a query is held back
	rung     chan struct{}
	rings    map[string]*atomic.Int64 // number of rings heard so far, by queue

	// Only the server's one loop touches these.
	quiet map[string]quietQueue // queues that were found empty
	empty int                   // number of queries in a row that found nothing
}

// quietQueue describes a queue that was found empty.
type quietQueue struct {
	rings int64 // number heard before the queue was asked
	until time.Time
}

// doorbellName carries the rings.
const doorbellName = "mass:wake"

// NewDoorbell returns a Doorbell for a server of these queues and weights.
func NewDoorbell(queues map[string]int, patience time.Duration) *Doorbell {
	d := &Doorbell{
		queues: queues, patience: patience, rung: make(chan struct{}, 1),
		rings: make(map[string]*atomic.Int64, len(queues)), quiet: make(map[string]quietQueue, len(queues)),
	}
	for q := range queues {
		d.rings[q] = new(atomic.Int64)
	}
	return d
}

// ring notifies all workers that there is work in a queue.
func ring(ctx context.Context, rdb redis.UniversalClient, queue string) error {
	if err := rdb.Publish(ctx, channelOf(rdb, doorbellName), queue).Err(); err != nil {
		return fmt.Errorf("ring the workers' doorbell: %w", err)
	}
	return nil
}

// withRing returns a context under which the script that enqueues a task is
// sent together with a ring for its queue, in one round trip to Redis instead
// of two.
func withRing(ctx context.Context, queue string) context.Context {
	return context.WithValue(ctx, ringKey{}, queue)
}

type ringKey struct{}

// ringer is the hook on an Enqueuer's client that sends the rings of withRing.
type ringer struct{ redis redis.UniversalClient }

// ProcessHook implements redis.Hook. The error of the ring does not become the
// error of the command. When Redis does not know the script yet, go-redis sends
// the script again, and this hook adds the ring again.
func (r ringer) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		queue, ok := ctx.Value(ringKey{}).(string)
		if !ok || !strings.HasPrefix(cmd.Name(), "eval") {
			return next(ctx, cmd)
		}
		pipe := r.redis.Pipeline()
		_ = pipe.Process(ctx, cmd)
		pipe.Publish(ctx, channelOf(r.redis, doorbellName), queue)
		if _, err := pipe.Exec(ctx); err != nil && cmd.Err() == nil {
			return nil // only the ring was lost
		}
		return cmd.Err()
	}
}

// DialHook implements redis.Hook.
func (ringer) DialHook(next redis.DialHook) redis.DialHook { return next }

// ProcessPipelineHook implements redis.Hook.
func (ringer) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// Listen hears rings until ctx ends. The start of a subscription counts as a
// ring for every queue, because earlier rings may have been lost.
func (d *Doorbell) Listen(ctx context.Context, rdb redis.UniversalClient) {
	listen(ctx, rdb, doorbellName, func() { d.ring("") }, d.ring)
}

// ring notes that there may be work in a queue, or in any queue when it is "".
func (d *Doorbell) ring(queue string) {
	for q, count := range d.rings {
		if queue == "" || q == queue {
			count.Add(1)
		}
	}
	if d.rings[queue] == nil && queue != "" { // the queue of another server
		return
	}
	select {
	case d.rung <- struct{}{}:
	default: // one pending ring is enough
	}
}

// ProcessHook implements redis.Hook.
func (d *Doorbell) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		queue, ok := dequeued(cmd.Args())
		if _, ours := d.queues[queue]; !ok || !ours {
			return next(ctx, cmd)
		}
		if d.empty >= len(d.queues) {
			d.wait(ctx)
			d.empty = 0
		}
		rings := d.rings[queue].Load()
		if s, known := d.quiet[queue]; known && s.rings == rings && time.Now().Before(s.until) {
			d.empty++
			cmd.SetErr(redis.Nil)
			return redis.Nil
		}
		err := next(ctx, cmd)
		if errors.Is(err, redis.Nil) {
			d.empty++
			d.quiet[queue] = quietQueue{rings: rings, until: time.Now().Add(d.patience)}
		} else {
			d.empty = 0
			delete(d.quiet, queue)
		}
		return err
	}
}

func (d *Doorbell) wait(ctx context.Context) {
	limit := time.NewTimer(d.patience)
	defer limit.Stop()
	select {
	case <-d.rung:
	case <-limit.C:
	case <-ctx.Done():
	}
}

// DialHook implements redis.Hook.
func (d *Doorbell) DialHook(next redis.DialHook) redis.DialHook { return next }

// ProcessPipelineHook implements redis.Hook.
func (d *Doorbell) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// dequeued recognizes the script with which Asynq 0.26 takes a task from a
// queue by the keys of the script: pending, paused, active, lease. If a later
// version changed them, a server would poll as plain Asynq does, and a test
// would fail.
func dequeued(args []any) (queue string, ok bool) {
	if len(args) < 7 {
		return "", false
	}
	name, _ := args[0].(string)
	if !strings.HasPrefix(strings.ToLower(name), "eval") {
		return "", false
	}
	for i, part := range []string{":pending", ":paused", ":active", ":lease"} {
		if key, _ := args[3+i].(string); !strings.HasSuffix(key, part) {
			return "", false
		}
	}
	key, _ := args[3].(string)
	queue, ok = strings.CutPrefix(key, "asynq:{")
	return strings.TrimSuffix(queue, "}:pending"), ok
}
