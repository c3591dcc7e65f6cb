// Package config owns every setting of MASS: its name, default and meaning are
// written once, in the table that follows the struct with its value. The
// package reads the environment only through the function that it is given,
// and does nothing with the values.
package config

import (
	"errors"
	"log/slog"
	"time"
)

// Config holds all settings, grouped by subject.
//
// Each setting is read from its flag, else from its environment variable, else
// from the file that the variable with the suffix _FILE names; else it has its
// default. The flag's name is that of the variable in lower case, with dashes
// and without MASS_.
type Config struct {
	DB       DB
	Queue    Queue
	HTTP     HTTP
	Auth     Auth
	Limits   Limits
	Worker   Worker
	Webhooks Webhooks
	BioCore  BioCore
	Log      Log

	DataDir         string        // of mass dev
	ShutdownTimeout time.Duration // of the API and of the workers
}

// settings is the table of all settings, in the order in which help and
// documentation show them.
func (c *Config) settings() []setting {
	all := c.DB.settings()
	all = append(all, c.Queue.settings()...)
	all = append(all, setting{
		value: &c.DataDir, env: "MASS_DATA_DIR", usedBy: "dev doctor user key audit readings", def: ".mass",
		help: "directory where mass dev keeps its databases, log and secrets",
	}, setting{
		value: &c.ShutdownTimeout, env: "MASS_SHUTDOWN_TIMEOUT", usedBy: "api worker dev", def: "20s", min: "1s",
		help: "how long running work may continue after SIGTERM",
	})
	all = append(all, c.HTTP.settings()...)
	all = append(all, c.Auth.settings()...)
	all = append(all, c.Limits.settings()...)
	all = append(all, c.Worker.settings()...)
	all = append(all, c.Webhooks.settings()...)
	all = append(all, c.BioCore.settings()...)
	return append(all, c.Log.settings()...)
}

// check reports what no single value can show: missing settings, and values
// that do not fit together.
func (c *Config) check(command string) error {
	serves, works := command == "api" || command == "dev", command == "worker" || command == "dev"
	errs := []error{c.DB.check(command), c.Queue.check(command)}
	if serves {
		errs = append(errs, c.HTTP.check(), c.Auth.check(command, c.HTTP.Addr))
	}
	if works {
		errs = append(errs, c.Worker.check(), c.BioCore.check())
	}
	if serves || works {
		errs = append(errs, c.Webhooks.check())
	}
	return errors.Join(errs...)
}

// Queue is about Redis and the tasks in it.
type Queue struct {
	RedisURL      string
	RedisCA       string // file of the authorities that sign the certificates of Redis
	BatchMax      int    // requests per task
	TaskRetention time.Duration
}

func (q *Queue) settings() []setting {
	return []setting{{
		value: &q.RedisURL, env: "REDIS_URL", usedBy: "api worker dev doctor", secret: true,
		help: "address of Redis, as redis://, redis-sentinel://…?master=NAME or redis-cluster://; over TLS the scheme begins with rediss",
	}, {
		value: &q.RedisCA, env: "MASS_REDIS_CA", usedBy: "api worker dev doctor",
		help: "PEM file of the authorities that sign the certificates of Redis; without it, the authorities of the system are trusted",
	}, {
		value: &q.BatchMax, env: "MASS_BATCH_MAX", usedBy: "api worker dev", def: "64", min: "1", max: "1000",
		help: "maximum number of requests in one task",
	}, {
		value: &q.TaskRetention, env: "MASS_TASK_RETENTION", usedBy: "api worker dev", def: "5m",
		help: "how long finished tasks stay visible in Asynqmon",
	}}
}

func (q *Queue) check(command string) error {
	if q.RedisURL == "" && (command == "api" || command == "worker") {
		return errors.New("REDIS_URL is not set")
	}
	return nil
}

// Log is about the process's log.
type Log struct {
	Level  slog.Level
	Format string // "text" or "json"
}

func (l *Log) settings() []setting {
	return []setting{{
		value: &l.Level, env: "MASS_LOG_LEVEL", usedBy: "api worker migrate dev", def: "info",
		oneof: []string{"debug", "info", "warn", "error"},
		help:  "lowest level of messages to log: debug, info, warn or error",
	}, {
		value: &l.Format, env: "MASS_LOG_FORMAT", usedBy: "api worker migrate dev", def: "text",
		oneof: []string{"text", "json"},
		help:  "format of the log: text or json",
	}}
}
