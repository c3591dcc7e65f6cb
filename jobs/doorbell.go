package jobs

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Doorbell lets an idle Asynq server wait. Without one it polls, and for a
// latency of milliseconds would ask Redis hundreds of times a second for nothing.
//
// It is a hook on the server's own Redis client: when all queues were found empty, the
// next look at them is held back until somebody rings, or until the patience is
// at an end. A lost ring costs that time and nothing else.
type Doorbell struct {
	queues   map[string]int // of the server; other servers may use the same client
	patience time.Duration  // how long a look is held back at most
	rung     chan struct{}
	empty    int // looks in a row that found nothing; only the server's one loop touches it
}

// doorbellChannel carries the rings.
const doorbellChannel = "mass:wake"

// NewDoorbell returns a Doorbell for a server of these queues.
func NewDoorbell(queues map[string]int, patience time.Duration) *Doorbell {
	return &Doorbell{queues: queues, patience: patience, rung: make(chan struct{}, 1)}
}

// Ring tells all workers that there is work.
func Ring(ctx context.Context, rdb redis.UniversalClient) error {
	if err := rdb.Publish(ctx, doorbellChannel, "").Err(); err != nil {
		return fmt.Errorf("ring the workers' doorbell: %w", err)
	}
	return nil
}

// Listen hears rings until ctx ends. That the subscription stands again counts as
// a ring, because others may have been lost.
func (d *Doorbell) Listen(ctx context.Context, rdb redis.UniversalClient) {
	listen(ctx, rdb, doorbellChannel, d.ring, func(string) { d.ring() })
}

func (d *Doorbell) ring() {
	select {
	case d.rung <- struct{}{}:
	default: // one ring is enough
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
		err := next(ctx, cmd)
		if errors.Is(err, redis.Nil) {
			d.empty++
		} else {
			d.empty = 0
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
func (d *Doorbell) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

// ProcessPipelineHook implements redis.Hook.
func (d *Doorbell) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// dequeued recognizes the script by which Asynq 0.26 takes a task from a queue,
// by its keys: pending, paused, active, lease. Were it to change, a server would
// poll as Asynq does; a test would say so.
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
