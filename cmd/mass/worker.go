package main

import (
	"context"
	"errors"

	"github.com/leomutto/pilot-in-a-box/internal/config"
)

// runWorker processes requests until ctx ends.
func runWorker(ctx context.Context, in invocation) (err error) {
	command := config.Command{
		Name: "worker", About: "Processes requests. Any number of workers may run; one of them leads and reassigns\nthe requests of workers that died.",
	}
	c, err := config.Load(command, in.args, in.getenv, in.stdout)
	if err != nil {
		return err
	}
	b, err := open(c, "worker")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	if err := b.refuseSharedSessions(ctx); err != nil {
		return err
	}
	w, err := newWorker(b, c, newLogger(&c.Log, in.stderr))
	if err != nil {
		return err
	}
	return w.Run(ctx)
}
