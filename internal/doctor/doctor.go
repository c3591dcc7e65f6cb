// Package doctor finds out what is wrong with a system of MASS, for a person:
// each finding says what is so, whether that is good, and what to do about it.
//
// It owns the questions and the thresholds; it changes nothing. It must not know
// SQL, which belongs to package store, nor how findings are shown.
package doctor

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/leomutto/pilot-in-a-box/store"
)

// Level is how good or bad a finding is.
type Level string

// The levels of findings.
const (
	OK   Level = "ok"
	Warn Level = "warn"
	Fail Level = "FAIL"
)

// Finding is one thing that was looked at.
type Finding struct {
	Topic  string `json:"topic"`
	Level  Level  `json:"level"`
	Detail string `json:"detail"`
	Advice string `json:"advice,omitempty"` // what to do about it

	away bool // there was no answer
}

// Patient is the system to look at. The settings are those of its processes.
type Patient struct {
	DatabaseURL string
	Store       *store.Store
	RedisOpt    asynq.RedisConnOpt
	Redis       redis.UniversalClient

	DBMaxConns     int
	RequestTimeout time.Duration
	SilentAfter    time.Duration
	ReconcileGrace time.Duration
	Patience       time.Duration // for each group of questions
}

// group is a few questions that are asked together, and given up together.
type group struct {
	topic string
	needs needs
	ask   func(context.Context, *Patient) []Finding
}

// needs are the things without which a question makes no sense.
type needs struct{ postgres, schema, redis bool }

// stages are the questions in their order; the later ones build on the answers
// to the earlier.
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
		{"backlog", needs{schema: true}, askBacklog},
		{"queues", needs{redis: true}, askQueues},
		{"batches", needs{schema: true, redis: true}, askBatches},
		{"processing", needs{schema: true}, askProcessing},
		{"failures", needs{schema: true}, askFailures},
		{"webhooks", needs{schema: true}, askWebhooks},
	}}
}

// Examine asks everything, side by side, and returns the findings in a fixed
// order. No question waits longer than p.Patience: one that gets no answer is a
// finding, too. What cannot be asked without a server that is away is left out.
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
			Topic: "the rest", Level: Warn, Detail: "not looked at, for want of a server or a schema: " + strings.Join(left, ", "),
			Advice: "mend what FAILs above, then ask again",
		})
	}
	for i := range findings {
		findings[i].Detail = p.hush(findings[i].Detail)
	}
	return findings
}

// askAll asks groups side by side. The wait is bounded from the outside: not
// every driver looks at its context.
func (p *Patient) askAll(ctx context.Context, list []group) [][]Finding {
	ctx, cancel := context.WithTimeout(ctx, p.Patience)
	defer cancel()
	answers := make([]chan []Finding, len(list))
	for i, g := range list {
		answers[i] = make(chan []Finding, 1)
		go func() { answers[i] <- g.ask(ctx, p) }()
	}
	out := make([][]Finding, len(list))
	grace := time.After(p.Patience + p.Patience/4) // for those who look at their context
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
				Topic: g.topic, Level: Fail, Detail: fmt.Sprintf("no answer within %v", p.Patience), away: true,
				Advice: "the server is frozen, overloaded or behind a network that swallows packets",
			}}
		}
	}
	return out
}

// closedTimer is a timer that has gone off, for all who ask.
func closedTimer() <-chan time.Time {
	c := make(chan time.Time)
	close(c)
	return c
}

func answered(list []Finding) bool {
	return !slices.ContainsFunc(list, func(f Finding) bool { return f.away })
}

// Worst is the worst level of all findings.
func Worst(list []Finding) Level {
	worst := OK
	for _, f := range list {
		if f.Level == Fail || f.Level == Warn && worst == OK {
			worst = f.Level
		}
	}
	return worst
}

// hush takes the passwords out of a text, should a driver have put them there.
func (p *Patient) hush(text string) string {
	secrets := []string{p.DatabaseURL}
	if u, err := url.Parse(p.DatabaseURL); err == nil {
		password, _ := u.User.Password()
		secrets = append(secrets, password, u.Query().Get("password"))
	}
	switch o := p.RedisOpt.(type) {
	case asynq.RedisClientOpt:
		secrets = append(secrets, o.Password)
	case asynq.RedisFailoverClientOpt:
		secrets = append(secrets, o.Password, o.SentinelPassword)
	case asynq.RedisClusterClientOpt:
		secrets = append(secrets, o.Password)
	}
	for _, s := range secrets {
		if len(s) > 2 {
			text = strings.ReplaceAll(text, s, "***")
		}
	}
	return text
}

// trouble is the finding that a question could not be answered.
func trouble(topic, advice string, err error) []Finding {
	return []Finding{{Topic: topic, Level: Fail, Detail: firstLine(err), Advice: advice, away: true}}
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}
