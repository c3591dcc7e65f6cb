// Package doctor examines a MASS system for the person who operates it: each
// finding states a fact, how serious it is, and what to do about it.
//
// It owns the checks and their thresholds, and it changes nothing. It must not
// know SQL, which belongs to package store, nor how findings are displayed.
package doctor

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/leomutto/pilot-in-a-box/internal/pgconn"
	"github.com/leomutto/pilot-in-a-box/jobs/queue"
	"github.com/leomutto/pilot-in-a-box/store"
)

// Level is the severity of a finding.
type Level string

// The levels, from the best to the worst.
const (
	OK   Level = "ok"
	Warn Level = "warn"
	Fail Level = "FAIL"
)

// Finding is the result of one check.
type Finding struct {
	Topic  string `json:"topic"`
	Level  Level  `json:"level"`
	Detail string `json:"detail"`
	Advice string `json:"advice,omitempty"` // what to do about it

	away bool // the check got no answer, so later checks cannot be made
}

// Patient is the system to examine. The settings are those of its processes.
type Patient struct {
	DatabaseURL string
	Store       *store.Store
	RedisAddr   queue.Address
	Redis       redis.UniversalClient
	RedisError  error // why there is no Redis client

	DBMaxConns     int
	RequestTimeout time.Duration
	SilentAfter    time.Duration
	ReconcileGrace time.Duration
	Patience       time.Duration // how long each stage of checks may take
	Development    bool          // the system is a mass dev, whose one role may do everything
}

// group is a set of checks on one topic. They are made, and given up, together.
type group struct {
	topic string
	needs needs
	ask   func(context.Context, *Patient) []Finding
}

// needs are what a group cannot do without.
type needs struct{ postgres, schema, redis bool }

// stages are the groups in their order: a stage depends on the results of the
// stages before it.
func stages() [][]group {
	return [][]group{{
		{"postgres", needs{}, askPostgres},
		{"redis", needs{}, askRedis},
	}, {
		{"migrations", needs{postgres: true}, askMigrations},
	}, {
		{"role", needs{schema: true}, askRole},
		{"workers", needs{schema: true}, askWorkers},
		{"leader", needs{schema: true}, askLeader},
		{"seals", needs{schema: true}, askSeals},
		{"keys", needs{schema: true}, askKeys},
		{"backlog", needs{schema: true}, askBacklog},
		{"queues", needs{redis: true}, askQueues},
		{"batches", needs{schema: true, redis: true}, askBatches},
		{"processing", needs{schema: true}, askProcessing},
		{"failures", needs{schema: true}, askFailures},
		{"webhooks", needs{schema: true}, askWebhooks},
	}}
}

// Examine makes all checks, those of one stage concurrently, and returns the
// findings in a fixed order. No stage takes much longer than p.Patience: a check
// without an answer is a finding, too. Checks that need a server that does not
// answer are skipped.
func Examine(ctx context.Context, p *Patient) []Finding {
	var answers [][]Finding
	var left []string
	up := needs{}
	for _, stage := range stages() {
		var open []group
		for _, g := range stage {
			if g.needs.postgres && !up.postgres || g.needs.schema && !up.schema || g.needs.redis && !up.redis {
				left = append(left, g.topic)
				continue
			}
			open = append(open, g)
		}
		for i, a := range p.askAll(ctx, open) {
			switch open[i].topic {
			case "postgres":
				up.postgres = answered(a)
			case "redis":
				up.redis = answered(a)
			case "migrations":
				up.schema = answered(a)
			}
			answers = append(answers, a)
		}
	}
	findings := slices.Concat(answers...)
	if len(left) > 0 {
		findings = append(findings, Finding{
			Topic: "the rest", Level: Warn, Detail: "these checks need a server or a schema that is missing, and were skipped: " + strings.Join(left, ", "),
			Advice: "fix the FAIL findings above, then run the doctor again",
		})
	}
	for i := range findings {
		findings[i].Detail = p.hush(findings[i].Detail)
	}
	return findings
}

// askAll makes the checks of several groups concurrently. Its wait is bounded from
// the outside, because Asynq's inspector takes no context.
func (p *Patient) askAll(ctx context.Context, list []group) [][]Finding {
	ctx, cancel := context.WithTimeout(ctx, p.Patience)
	defer cancel()
	answers := make([]chan []Finding, len(list))
	for i, g := range list {
		answers[i] = make(chan []Finding, 1)
		go func() { answers[i] <- g.ask(ctx, p) }()
	}
	out := make([][]Finding, len(list))
	grace := time.After(p.Patience + p.Patience/4) // groups that heed the context return their own finding first
	for i, g := range list {
		select {
		case out[i] = <-answers[i]:
			continue
		default:
		}
		select {
		case out[i] = <-answers[i]:
		case <-grace:
			grace = closedTimer()
			out[i] = []Finding{{
				Topic: g.topic, Level: Fail, Detail: fmt.Sprintf("the server did not answer within %v", p.Patience), away: true,
				Advice: "check whether the server is frozen or overloaded, and whether the network drops packets",
			}}
		}
	}
	return out
}

// closedTimer is a timer that has expired, for any number of receivers.
func closedTimer() <-chan time.Time {
	c := make(chan time.Time)
	close(c)
	return c
}

func answered(list []Finding) bool {
	return !slices.ContainsFunc(list, func(f Finding) bool { return f.away })
}

// Worst returns the worst level among the findings.
func Worst(list []Finding) Level {
	worst := OK
	for _, f := range list {
		if f.Level == Fail || f.Level == Warn && worst == OK {
			worst = f.Level
		}
	}
	return worst
}

// hush removes passwords from a text, in case a driver put them there.
func (p *Patient) hush(text string) string {
	secrets := []string{p.DatabaseURL}
	if u, err := url.Parse(p.DatabaseURL); err == nil {
		password, _ := u.User.Password()
		secrets = append(secrets, password, u.Query().Get("password"))
	}
	secrets = append(secrets, p.RedisAddr.Secrets()...)
	if u, err := pgconn.ParseURL(p.DatabaseURL); err == nil {
		secrets = append(secrets, u["password"])
	}
	for _, s := range secrets {
		if len(s) > 2 {
			text = strings.ReplaceAll(text, s, "***")
		}
	}
	return text
}

// trouble is the finding that a check failed with an error.
func trouble(topic, advice string, err error) []Finding {
	return []Finding{{Topic: topic, Level: Fail, Detail: firstLine(err), Advice: advice, away: true}}
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}
