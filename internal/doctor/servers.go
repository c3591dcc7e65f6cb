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
	roundTrips     = 3                     // the fastest one counts
	slowRoundTrip  = 50 * time.Millisecond // a slower one makes every group commit noticeably slower
	skewWarn       = time.Second
	skewFail       = time.Minute
	memoryWarn     = 0.8 // share of maxmemory that is in use
)

// fastest runs an exchange roundTrips times and returns the shortest duration.
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
		return []Finding{{Topic: "postgres", Level: Fail, Detail: "DATABASE_URL is not a PostgreSQL URL", Advice: "use the form postgres://user:password@host:port/name", away: true}}
	}
	trip, err := fastest(func() error { return p.Store.Ping(ctx) })
	if err != nil {
		return trouble("postgres", "check that the server at "+where+" is running, that it accepts this role and password, and that no firewall blocks the connection", err)
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
		first.Level, first.Advice = Fail, "upgrade the server: MASS needs PostgreSQL 13 or later"
	case s.ReadOnly:
		first.Level, first.Detail, first.Advice = Fail, first.Detail+", read-only", "point DATABASE_URL at the primary"
	case trip > slowRoundTrip:
		first.Level, first.Advice = Warn, "each submission waits for at least one round trip: run MASS closer to its database"
	}
	return findings
}

func connections(used, most, each int) Finding {
	f := Finding{Topic: "connections", Level: OK, Detail: fmt.Sprintf("%d of %d connections are in use; each process opens up to %d", used, most, each)}
	switch {
	case 2*each > most: // the smallest system is one API and one worker
		f.Level, f.Advice = Warn, "one API and one worker together may need more than the server allows: raise max_connections or lower MASS_DB_MAX_CONNS"
	case used+each > most:
		f.Level, f.Advice = Warn, "the server may refuse connections of one more process: raise max_connections or lower MASS_DB_MAX_CONNS"
	}
	return f
}

// clock compares a server's clock with the clock of this host at the middle of the
// exchange. The comparison may be wrong by half the duration of the exchange.
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
		f.Advice = "synchronize both clocks with NTP: run_at, expires_at, retries and retention are wrong by this difference"
	}
	return f
}

func askRedis(ctx context.Context, p *Patient) []Finding {
	where := redisName(p.RedisOpt)
	if p.Redis == nil {
		return []Finding{{Topic: "redis", Level: Fail, Detail: "REDIS_URL is not a Redis URL", Advice: "use redis://, rediss://, redis-sentinel:// or redis-cluster://", away: true}}
	}
	trip, err := fastest(func() error { return p.Redis.Ping(ctx).Err() })
	if err != nil {
		return trouble("redis", "check that the server at "+where+" is running; MASS still accepts submissions, but they wait until it is back", err)
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
		findings[0].Level, findings[0].Advice = Fail, "change this setting, or use another server; until then Redis may lose tasks (no request is lost)"
		findings[0].Detail += "; " + strings.ReplaceAll(err.Error(), "\n", "; ")
	}
	if info.Max > 0 && float64(info.Used) > memoryWarn*float64(info.Max) {
		findings[1].Level, findings[1].Advice = Warn, "raise maxmemory: once it is full, no task can be enqueued"
	}
	return findings
}

func memory(info queue.RedisInfo) string {
	limit := "no limit"
	if info.Max > 0 {
		limit = fmt.Sprintf("of %.0f MiB", float64(info.Max)/(1<<20))
	}
	persistence := "appendonly no: after a restart of Redis the reconciler enqueues all tasks again"
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
			Topic: "migrations", Level: Fail, Detail: "not applied yet: " + strings.Join(pending, ", "), Advice: "run mass migrate up",
			away: len(pending) == len(all), // there is no schema to check
		}}
	case len(unknown) > 0:
		return []Finding{{
			Topic: "migrations", Level: Warn, Detail: "applied by a newer version: " + strings.Join(unknown, ", "),
			Advice: "this is normal during an upgrade; otherwise this program is too old for the database",
		}}
	}
	return []Finding{{Topic: "migrations", Level: OK, Detail: "all migrations are applied"}}
}

func askRole(ctx context.Context, p *Patient) []Finding {
	missing, err := p.Store.MissingPrivileges(ctx)
	switch {
	case err != nil:
		return trouble("role", "", err)
	case len(missing) > 0:
		return []Finding{{Topic: "role", Level: Fail, Detail: "the role lacks " + strings.Join(missing, ", "), Advice: "GRANT these privileges as the owner of the tables"}}
	}
	return []Finding{{Topic: "role", Level: OK, Detail: "the role has all privileges that it needs"}}
}

// databaseName returns the address of a database without its credentials.
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

// short formats a duration with the precision that a person needs.
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
