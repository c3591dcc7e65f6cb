package api

import (
	"github.com/leomutto/pilot-in-a-box/internal/access"
	"github.com/leomutto/pilot-in-a-box/internal/config"
	"github.com/leomutto/pilot-in-a-box/internal/limit"
)

// DefaultConfig is the configuration of an API without any settings, for tests.
// Unlike in production, addresses have no rate limit: all tests come from one.
func DefaultConfig() Config {
	c := config.Default()
	return Config{
		Addr:              c.HTTP.Addr,
		Version:           "test",
		MaxBody:           c.HTTP.MaxBody,
		MaxBatchBody:      c.HTTP.MaxBatchBody,
		MaxDepth:          c.HTTP.MaxDepth,
		MaxHeaders:        c.HTTP.MaxHeaders,
		MaxHeaderBytes:    c.HTTP.MaxHeaderBytes,
		BatchMax:          c.Queue.BatchMax,
		AnswerTimeout:     c.HTTP.AnswerTimeout,
		ReadHeaderTimeout: c.HTTP.ReadHeaderTimeout,
		ReadTimeout:       c.HTTP.ReadTimeout,
		WriteTimeout:      c.HTTP.WriteTimeout,
		IdleTimeout:       c.HTTP.IdleTimeout,
		ShutdownTimeout:   c.ShutdownTimeout,
		WaitInterval:      c.HTTP.WaitInterval,
		KeepAlive:         c.HTTP.KeepAlive,
		TLSReload:         c.HTTP.TLSReload,
		Access: access.Config{
			RefreshTTL:  c.Auth.RefreshTTL,
			SessionTTL:  c.Auth.SessionTTL,
			SessionIdle: c.Auth.SessionIdle,
			Throttle: access.ThrottleConfig{
				Account: limit.Rate{Burst: c.Auth.LoginTries, Every: c.Auth.LoginEvery},
				Address: limit.Rate{Burst: c.Auth.AddressLoginTries, Every: c.Auth.AddressLoginEvery},
			},
		},
	}
}
