package doctor

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/hibiken/asynq"

	"github.com/leomutto/pilot-in-a-box/jobs/queue"
	"github.com/leomutto/pilot-in-a-box/migrations"
)

const (
	oldestPostgres = 13_0000
	roundTrips     = 3                     // of which the quickest counts
	slowRoundTrip  = 50 * time.Millisecond // from here on a group commit takes noticeably long
	skewWarn       = time.Second
	skewFail       = time.Minute
	memoryWarn     = 0.8 // share of maxmemory in use
)

// fastest runs an exchange a few times and returns the shortest time it took.
func fastest(exchange func() error) (time.Duration, error) {
	best := time.Duration(-1)
	for range roundTrips {
		begun := time.Now()
		if err := exchange(); err != nil {
			return 0, err
		}
		if took := time.Since(begun); best < 0 || took < best {
			best = took
		}
	}
	return best, nil
}

func askPostgres(ctx context.Context, p *Patient) []Finding {
	where := databaseName(p.DatabaseURL)
	if p.Store == nil {
		return []Finding{{Topic: "postgres", Level: Fail, Detail: "DATABASE_URL names no PostgreSQL", Advice: "want postgres://user:password@host:port/name", away: true}}
	}
	trip, err := fastest(func() error { return p.Store.Ping(ctx) })
	if err != nil {
		return trouble("postgres", "is the server at "+where+" up, does it let this role in, is the way to it open?", err)
	}
	begun := time.Now()
	s, err := p.Store.Server(ctx)
	if err != nil {
		return trouble("postgres", "", err)
	}
	findings := []Finding{
		{Topic: "postgres", Level: OK, Detail: fmt.Sprintf("%s at %s, round trip %s", s.Version, where, short(trip))},
		clock("PostgreSQL", begun, time.Since(begun), s.Now),
		connections(s.Connections, s.MaxConnections, p.DBMaxConns),
	}
	switch first := &findings[0]; {
	case s.VersionNumber < oldestPostgres:
		first.Level, first.Advice = Fail, "13 or later is needed"
	case s.ReadOnly:
		first.Level, first.Detail, first.Advice = Fail, first.Detail+", read-only", "point DATABASE_URL at the primary"
	case trip > slowRoundTrip:
		first.Level, first.Advice = Warn, "every submission waits for a round trip: run MASS near its database"
	}
	return findings
}

func connections(used, most, each int) Finding {
	f := Finding{Topic: "connections", Level: OK, Detail: fmt.Sprintf("%d of %d in use; a process takes up to %d", used, most, each)}
	switch {
	case 2*each > most: // an API and a worker are the least there is
		f.Level, f.Advice = Warn, "an API and a worker together may want more: raise max_connections or lower MASS_DB_MAX_CONNS"
	case used+each > most:
		f.Level, f.Advice = Warn, "another process may not get its connections: raise max_connections or lower MASS_DB_MAX_CONNS"
	}
	return f
}

// clock compares a server's clock with ours at the middle of the exchange; half
// of the time it took is how wrong that may be.
func clock(server string, begun time.Time, took time.Duration, theirs time.Time) Finding {
	skew := theirs.Sub(begun.Add(took / 2))
	f := Finding{Topic: "clocks", Level: OK, Detail: fmt.Sprintf("%s and this host differ by %s", server, short(skew.Abs()))}
	switch off := skew.Abs() - took/2; {
	case off > skewFail:
		f.Level = Fail
	case off > skewWarn:
		f.Level = Warn
	}
	if f.Level != OK {
		f.Advice = "let NTP set both clocks: run_at, expires_at, retries and retention are off by that much"
	}
	return f
}

func askRedis(ctx context.Context, p *Patient) []Finding {
	where := redisName(p.RedisOpt)
	if p.Redis == nil {
		return []Finding{{Topic: "redis", Level: Fail, Detail: "REDIS_URL names no Redis", Advice: "want redis://, rediss://, redis-sentinel:// or redis-cluster://", away: true}}
	}
	trip, err := fastest(func() error { return p.Redis.Ping(ctx).Err() })
	if err != nil {
		return trouble("redis", "is the server at "+where+" up? submissions are still accepted, and wait", err)
	}
	begun := time.Now()
	now, err := p.Redis.Time(ctx).Result()
	took := time.Since(begun)
	if err != nil {
		return trouble("redis", "", err)
	}
	info, err := queue.DescribeRedis(ctx, p.Redis)
	if err != nil {
		return trouble("redis", "", err)
	}
	findings := []Finding{
		{Topic: "redis", Level: OK, Detail: fmt.Sprintf("%s at %s, round trip %s", info.Version, where, short(trip))},
		{Topic: "redis memory", Level: OK, Detail: memory(info)},
		clock("Redis", begun, took, now),
	}
	if err := queue.CheckRedis(ctx, p.Redis); err != nil {
		findings[0].Level, findings[0].Advice = Fail, "change the setting, or the server; tasks may vanish until then (rows do not)"
		findings[0].Detail += "; " + strings.ReplaceAll(err.Error(), "\n", "; ")
	}
	if info.Max > 0 && float64(info.Used) > memoryWarn*float64(info.Max) {
		findings[1].Level, findings[1].Advice = Warn, "raise maxmemory before it is full: no task can be enqueued then"
	}
	return findings
}

func memory(info queue.RedisInfo) string {
	limit := "no limit"
	if info.Max > 0 {
		limit = fmt.Sprintf("of %.0f MiB", float64(info.Max)/(1<<20))
	}
	persistence := "appendonly no: after a restart the reconciler enqueues anew"
	if info.AppendOnly {
		persistence = "appendonly yes"
	}
	return fmt.Sprintf("%.1f MiB in use, %s; %s", float64(info.Used)/(1<<20), limit, persistence)
}

func askMigrations(ctx context.Context, p *Patient) []Finding {
	all, err := migrations.Status(ctx, p.DatabaseURL)
	if err != nil {
		return trouble("migrations", "", err)
	}
	var pending []string
	for _, m := range all {
		if m.AppliedAt.IsZero() {
			pending = append(pending, m.ID)
		}
	}
	unknown, err := migrations.Unknown(ctx, p.DatabaseURL)
	switch {
	case err != nil:
		return trouble("migrations", "", err)
	case len(pending) > 0:
		return []Finding{{
			Topic: "migrations", Level: Fail, Detail: "to be applied: " + strings.Join(pending, ", "), Advice: "run mass migrate up",
			away: len(pending) == len(all), // there is no schema to ask
		}}
	case len(unknown) > 0:
		return []Finding{{
			Topic: "migrations", Level: Warn, Detail: "applied by a newer version: " + strings.Join(unknown, ", "),
			Advice: "fine while versions are exchanged; otherwise this program is too old",
		}}
	}
	return []Finding{{Topic: "migrations", Level: OK, Detail: "all applied"}}
}

func askRole(ctx context.Context, p *Patient) []Finding {
	missing, err := p.Store.MissingPrivileges(ctx)
	switch {
	case err != nil:
		return trouble("role", "", err)
	case len(missing) > 0:
		return []Finding{{Topic: "role", Level: Fail, Detail: "may not " + strings.Join(missing, ", "), Advice: "GRANT it, as the owner of the tables"}}
	}
	return []Finding{{Topic: "role", Level: OK, Detail: "may do what it has to"}}
}

// databaseName is the address without what is secret in it.
func databaseName(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return "DATABASE_URL"
	}
	host := u.Host
	if host == "" {
		host = u.Query().Get("host")
	}
	return host + u.Path
}

func redisName(o asynq.RedisConnOpt) string {
	switch o := o.(type) {
	case asynq.RedisClientOpt:
		return fmt.Sprintf("%s/%d", o.Addr, o.DB)
	case asynq.RedisFailoverClientOpt:
		return o.MasterName + " by " + strings.Join(o.SentinelAddrs, ",")
	case asynq.RedisClusterClientOpt:
		return strings.Join(o.Addrs, ",")
	}
	return "REDIS_URL"
}

// short is a duration as people say it.
func short(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return d.Round(10 * time.Microsecond).String()
	case d < time.Second:
		return d.Round(100 * time.Microsecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}
