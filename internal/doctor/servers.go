package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/leomutto/pilot-in-a-box/internal/pgconn"
	"github.com/leomutto/pilot-in-a-box/jobs/queue"
	"github.com/leomutto/pilot-in-a-box/migrations"
	"github.com/leomutto/pilot-in-a-box/store"
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
		detail := "DATABASE_URL is not a PostgreSQL URL"
		if _, err := pgconn.ParseURL(p.DatabaseURL); err != nil {
			detail = strings.Replace(err.Error(), "the database URL", "DATABASE_URL", 1)
		}
		return []Finding{{Topic: "postgres", Level: Fail, Detail: detail, Advice: "use the form postgres://user:password@host:port/name", away: true}}
	}
	if err := p.Store.CheckPooler(ctx); err != nil {
		return trouble("postgres", "see \"Connection poolers\" in docs/operations.md", err)
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
	if s.Standbys > 0 {
		findings = append(findings, standbys(&s))
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

// standbys judges whether a failover may lose requests that were accepted.
func standbys(s *store.Server) Finding {
	f := Finding{Topic: "standbys", Level: OK, Detail: fmt.Sprintf("%d of %d standbys are synchronous", s.Synchronous, s.Standbys)}
	switch {
	case s.Synchronous > 0:
	case s.Hidden == s.Standbys:
		f.Level, f.Detail = Warn, fmt.Sprintf("%d standbys; the role may not see whether any is synchronous", s.Standbys)
		f.Advice = "GRANT pg_read_all_stats to the role of the doctor, or check pg_stat_replication as a superuser"
	default:
		f.Level, f.Advice = Warn, "a failover may lose requests that were accepted last: set synchronous_standby_names, such as 'ANY 1 (*)' with two standbys"
	}
	return f
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
	where := redisName(p.RedisAddr)
	if p.Redis == nil {
		return trouble("redis", "see docs/configuration.md for the forms of REDIS_URL", cmp.Or(p.RedisError, errors.New("REDIS_URL is not set")))
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
	nodes, err := queue.InspectNodes(ctx, p.Redis)
	if err != nil {
		return trouble("redis", "", err)
	}
	return []Finding{
		redisServers(nodes, where, trip), enqueueing(queue.Health(ctx, p.Redis)), memory(nodes.Fullest(), len(nodes)), clock("Redis", begun, took, now),
	}
}

// redisServers is the finding about the versions and settings of the servers of Redis.
func redisServers(nodes queue.Nodes, where string, trip time.Duration) Finding {
	var versions []string
	for _, n := range nodes {
		if v := cmp.Or(n.Version, "of an unknown version"); !slices.Contains(versions, v) {
			versions = append(versions, v)
		}
	}
	f := Finding{Topic: "redis", Level: OK, Detail: fmt.Sprintf("%s at %s, round trip %s", strings.Join(versions, ", "), where, short(trip))}
	if len(nodes) > 1 {
		f.Detail += fmt.Sprintf(", %d servers", len(nodes))
	}
	unsuitable, unseen := nodes.Unsuitable(), nodes.Unseen()
	if len(unseen) > 0 {
		f.Level, f.Advice = Warn, "look at these values yourself: MASS needs Redis 6.2 or later with maxmemory-policy noeviction on every server"
		f.Detail += "; " + strings.Join(unseen, "; ")
	}
	if unsuitable != nil {
		f.Level, f.Advice = Fail, "change this setting, or use another server; until then Redis may lose tasks (no request is lost)"
		f.Detail += "; " + strings.ReplaceAll(unsuitable.Error(), "\n", "; ")
	}
	return f
}

// redisAdvice says what to do about a problem of Redis.
var redisAdvice = map[string]string{
	queue.ProblemFull:      "raise maxmemory, or find out what else fills this Redis",
	queue.ProblemReadOnly:  "let REDIS_URL name the master, or use redis-sentinel://",
	queue.ProblemLoading:   "wait until Redis has read its data",
	queue.ProblemNoDisk:    "look at the log of Redis: its disk may be full",
	queue.ProblemReplicas:  "start the replicas of Redis, or lower min-replicas-to-write",
	queue.ProblemCluster:   "start the nodes that are missing: a part of the cluster is served by no node",
	queue.ProblemForbidden: "give the user of REDIS_URL the commands and keys that docs/operations.md lists",
}

// enqueueing is the finding about whether Redis takes tasks.
func enqueueing(fault error) Finding {
	if fault == nil {
		return Finding{Topic: "redis tasks", Level: OK, Detail: "Redis takes tasks for every queue"}
	}
	f := Finding{Topic: "redis tasks", Level: Fail, Detail: firstLine(fault), Advice: "look at the log of Redis"}
	if known, ok := errors.AsType[*queue.Fault](fault); ok {
		f.Advice = cmp.Or(redisAdvice[known.Problem], f.Advice)
	}
	f.Advice += "; MASS still accepts submissions, but they wait until then"
	return f
}

// memory is the finding about the fullest of several servers.
func memory(n queue.Node, servers int) Finding {
	if n.Used == 0 {
		return Finding{Topic: "redis memory", Level: Warn, Detail: "Redis did not tell how much memory it uses", Advice: "watch the memory of Redis: once it is full, no task can be enqueued"}
	}
	limit := "no limit"
	if n.Max > 0 {
		limit = fmt.Sprintf("of %.0f MiB", float64(n.Max)/(1<<20))
	}
	f := Finding{Topic: "redis memory", Level: OK, Detail: fmt.Sprintf("%.1f MiB in use, %s", float64(n.Used)/(1<<20), limit)}
	if servers > 1 {
		f.Detail += fmt.Sprintf(" (%s, the fullest of %d servers)", n.Name, servers)
	}
	switch {
	case n.AppendOnlyUnknown:
	case n.AppendOnly:
		f.Detail += "; appendonly yes"
	default:
		f.Detail += "; appendonly no: after a restart of Redis the reconciler enqueues all tasks again"
	}
	if n.Max > 0 && float64(n.Used) > memoryWarn*float64(n.Max) {
		f.Level, f.Advice = Warn, "raise maxmemory: once it is full, no task can be enqueued"
	}
	return f
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

// databaseName returns the address of a database without its credentials.
func databaseName(raw string) string {
	p, err := pgconn.ParseURL(raw)
	if err != nil {
		return "DATABASE_URL"
	}
	return p.Address()
}

// redisName returns the address of a Redis without its credentials.
func redisName(a queue.Address) string {
	hosts := strings.Join(a.Hosts, ",")
	switch a.Mode {
	case queue.Sentinel:
		return fmt.Sprintf("%s/%d by %s", a.Master, a.DB, hosts)
	case queue.Cluster:
		return hosts
	}
	return fmt.Sprintf("%s/%d", hosts, a.DB)
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
