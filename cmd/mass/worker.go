package main

import (
	"context"
	"errors"

	"github.com/leomutto/pilot-in-a-box/internal/config"
)

func runWorker(ctx context.Context, in invocation) (err error) {
	c, err := config.Load("worker", in.args, in.getenv, in.stdout, nil)
	if err != nil {
		return err
	}
	b, err := open(c, "worker")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	return newWorker(b, c, newLogger(c, in.stderr)).Run(ctx)
}
