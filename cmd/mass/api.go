package main

import (
	"context"
	"errors"

	"github.com/leomutto/pilot-in-a-box/internal/config"
)

func runAPI(ctx context.Context, in invocation) (err error) {
	c, err := config.Load("api", in.args, in.getenv, in.stdout, nil)
	if err != nil {
		return err
	}
	b, err := open(c, "api")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	log := newLogger(c, in.stderr)
	server, err := newAPI(b, c, log)
	if err != nil {
		return err
	}
	addr, err := server.Listen()
	if err != nil {
		return err
	}
	log.Info("api listens", "addr", addr.String(), "tls", c.TLSCert != "", "version", buildVersion())
	return server.Serve(ctx)
}
