package main

import (
	"context"
	"encoding/json"
	"os"

	"github.com/hibiken/asynq"
	"golang.org/x/sync/errgroup"

	"github.com/leomutto/pilot-in-a-box/jobs/payload"
)

// asynqService is the service on Asynq as its README shows it: one task a request, ten at once, one UPDATE a transition.
func asynqService(self string) *service {
	return &service{
		name: "asynq", table: "requests", prepare: prepareAsynq,
		api: func(_ *session, addr string) (env, command []string) {
			return nil, []string{self, "peer", "asynq-api", addr}
		},
		worker:  func(*session) (env, command []string) { return nil, []string{self, "peer", "asynq-worker"} },
		backlog: asynqBacklog,
	}
}

func prepareAsynq(ctx context.Context, databaseURL string) error {
	return execute(ctx, databaseURL, peerTable)
}

const typeRequest = "request"

// requestTask is the task of one request.
func requestTask(id int64) (*asynq.Task, error) {
	p, err := json.Marshal(requestArgs{ID: id})
	return asynq.NewTask(typeRequest, p), err
}

func asynqAPI(ctx context.Context, addr string) error {
	db, err := peerPool(ctx, 50)
	if err != nil {
		return err
	}
	defer db.Close()
	opt, err := asynq.ParseRedisURI(os.Getenv("REDIS_URL"))
	if err != nil {
		return err
	}
	client := asynq.NewClient(opt)
	defer client.Close()
	return serve(ctx, addr, peerHandler(func(ctx context.Context, meta payload.Meta, raw json.RawMessage) (accepted, error) {
		a, err := insert(ctx, db, meta, raw)
		if err != nil {
			return a, err
		}
		task, err := requestTask(a.ID)
		if err != nil {
			return a, err
		}
		_, err = client.EnqueueContext(ctx, task)
		return a, err
	}))
}

func asynqWorker(ctx context.Context) error {
	const concurrency = 10 // the README's
	db, err := peerPool(ctx, concurrency)
	if err != nil {
		return err
	}
	defer db.Close()
	opt, err := asynq.ParseRedisURI(os.Getenv("REDIS_URL"))
	if err != nil {
		return err
	}
	server := asynq.NewServer(opt, asynq.Config{Concurrency: concurrency, LogLevel: asynq.ErrorLevel})
	mux := asynq.NewServeMux()
	mux.HandleFunc(typeRequest, func(ctx context.Context, t *asynq.Task) error {
		var p requestArgs
		if err := json.Unmarshal(t.Payload(), &p); err != nil {
			return err
		}
		return workOn(ctx, db, p.ID)
	})
	if err := server.Start(mux); err != nil {
		return err
	}
	<-ctx.Done()
	server.Shutdown()
	return nil
}

func asynqBacklog(ctx context.Context, s *session, n int) error {
	if err := peerBacklog(ctx, s, n); err != nil {
		return err
	}
	client := asynq.NewClientFromRedisClient(s.machine.redis)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(32)
	for i := range n {
		g.Go(func() error {
			task, err := requestTask(int64(i) + 1)
			if err != nil {
				return err
			}
			_, err = client.EnqueueContext(ctx, task)
			return err
		})
	}
	return g.Wait()
}
