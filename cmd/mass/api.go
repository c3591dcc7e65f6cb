package main

import (
	"context"
	"errors"

	"github.com/leomutto/pilot-in-a-box/internal/config"
)

// runAPI serves the HTTP API until ctx ends.
func runAPI(ctx context.Context, in invocation) (err error) {
	command := config.Command{Name: "api", About: "Serves the HTTP API, Swagger UI (/docs) and Asynqmon (/monitoring)."}
	c, err := config.Load(command, in.args, in.getenv, in.stdout)
	if err != nil {
		return err
	}
	b, err := open(c, "api")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	if err := b.refuseSharedSessions(ctx); err != nil {
		return err
	}
	log := newLogger(&c.Log, in.stderr)
	server, err := newAPI(b, c, log)
	if err != nil {
		return err
	}
	addr, err := server.Listen()
	if err != nil {
		return err
	}
	log.Info("api listens", "addr", addr.String(), "tls", c.HTTP.TLSCert != "", "version", buildVersion())
	return server.Serve(ctx)
}
