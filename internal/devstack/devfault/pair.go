package devfault

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	_ "github.com/lib/pq" // registers the driver

	"github.com/leomutto/pilot-in-a-box/internal/devstack"
)

const (
	pollInterval = 20 * time.Millisecond
	stepTimeout  = 2 * time.Minute // of a promotion, or until a new standby is in step
)

// PairOptions describes a Pair.
type PairOptions struct {
	// Asynchronous lets the primary answer before the standby has a commit, so
	// that a promotion may lose acknowledged commits.
	Asynchronous bool
	Settings     []string // of both servers, as name=value
}

// Pair is a PostgreSQL primary with one streaming standby. After a promotion
// the two servers swap their roles; their addresses stay the same. The methods
// must not be called at the same time.
type Pair struct {
	// Replication is the network from the standby to the primary. While it is
	// silent, a synchronous primary does not answer commits.
	Replication *Proxy

	folder  *devstack.Folder
	options PairOptions
	servers [2]*devstack.Server
	data    [2]string
	primary int // index of the server that takes writes
}

// StartPair starts both servers and returns once the standby is in step with
// the primary.
func StartPair(ctx context.Context, f *devstack.Folder, o PairOptions) (*Pair, error) {
	dir, err := f.MakeDir("pair")
	if err != nil {
		return nil, err
	}
	p := &Pair{folder: f, options: o, data: [2]string{filepath.Join(dir, "a"), filepath.Join(dir, "b")}}
	err = f.WriteFile(p.passwordFile(), "*:*:*:*:"+f.PostgresPassword()+"\n")
	if err == nil {
		err = f.InitPostgres(ctx, p.data[0])
	}
	if err != nil {
		return nil, err
	}
	if p.servers[0], err = p.start(ctx, 0); err != nil {
		return nil, err
	}
	if p.Replication, err = NewProxy(p.servers[0].Addr()); err != nil {
		return nil, err
	}
	f.Cleanup(p.Replication.Close)
	return p, p.Rebuild(ctx)
}

func (p *Pair) passwordFile() string { return filepath.Join(filepath.Dir(p.data[0]), "passwords") }

func (p *Pair) start(ctx context.Context, i int) (*devstack.Server, error) {
	settings := append([]string{"wal_keep_size=512MB", "hot_standby=on", "wal_receiver_timeout=5s", "wal_sender_timeout=5s"}, p.options.Settings...)
	return p.folder.StartPostgres(ctx, "postgres-"+filepath.Base(p.data[i]), p.data[i], 0, settings...)
}

// Primary is the server that takes writes.
func (p *Pair) Primary() *devstack.Server { return p.servers[p.primary] }

// Standby is the other server: the standby, or after a promotion the old
// primary, until Rebuild.
func (p *Pair) Standby() *devstack.Server { return p.servers[1-p.primary] }

// Addrs returns the addresses of both servers, which never change.
func (p *Pair) Addrs() [2]string { return [2]string{p.servers[0].Addr(), p.servers[1].Addr()} }

// DatabaseURL is the URL of the server that takes writes now.
func (p *Pair) DatabaseURL() string { return p.folder.PostgresURL(p.Primary().Addr()) }

// SeveralHostsURL names several addresses in the form of libpq:
// postgres://user:password@host:port,host:port/name.
func SeveralHostsURL(serverURL string, addrs ...string) string {
	before, rest, _ := strings.Cut(serverURL, "@")
	_, after, _ := strings.Cut(rest, "/")
	return before + "@" + strings.Join(addrs, ",") + "/" + after
}

// HostListURL names several addresses in the form that lib/pq takes:
// postgres://user:password@/name?host=a,b&port=1,2.
func HostListURL(serverURL string, addrs ...string) string {
	hosts, ports := make([]string, len(addrs)), make([]string, len(addrs))
	for i, addr := range addrs {
		hosts[i], ports[i], _ = net.SplitHostPort(addr)
	}
	return SeveralHostsURL(serverURL, "") + "&host=" + strings.Join(hosts, ",") + "&port=" + strings.Join(ports, ",")
}

// Demote makes the primary refuse writes (SQLSTATE 25006) and ends all of its
// sessions. It stays reachable, as a demoted server does. What was not yet
// confirmed by a synchronous standby is never acknowledged.
func (p *Pair) Demote(ctx context.Context) error {
	return p.query(ctx, p.primary, func(db *sql.DB) error {
		for _, statement := range []string{"ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()"} {
			if _, err := db.ExecContext(ctx, statement); err != nil {
				return fmt.Errorf("run %q: %w", statement, err)
			}
		}
		// The server reads its settings a moment later, so a session that
		// begins before that could still write.
		return await(ctx, "the old primary is read-only", func() (bool, error) {
			_, err := db.ExecContext(ctx, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()`)
			if err != nil {
				return false, err
			}
			var readOnly string
			err = p.query(ctx, p.primary, func(db *sql.DB) error {
				return db.QueryRowContext(ctx, "SHOW default_transaction_read_only").Scan(&readOnly)
			})
			return readOnly == "on", err
		})
	})
}

// KillPrimary ends the primary as a crash would.
func (p *Pair) KillPrimary() error { return p.Primary().Kill() }

// Promote makes the standby the primary and returns once it takes writes. The
// old primary stays as it is: call Demote or KillPrimary before.
func (p *Pair) Promote(ctx context.Context) error {
	standby := 1 - p.primary
	err := p.query(ctx, standby, func(db *sql.DB) error {
		// The copy of the primary's settings would make the new primary wait
		// for a standby that it does not have.
		for _, statement := range []string{
			"ALTER SYSTEM RESET synchronous_standby_names", "SELECT pg_reload_conf()", "SELECT pg_promote()",
		} {
			if _, err := db.ExecContext(ctx, statement); err != nil {
				return fmt.Errorf("run %q: %w", statement, err)
			}
		}
		return await(ctx, "the promoted server takes writes", func() (bool, error) {
			var recovering bool
			err := db.QueryRowContext(ctx, "SELECT pg_is_in_recovery()").Scan(&recovering)
			return !recovering, err
		})
	})
	if err == nil {
		p.primary = standby
	}
	return err
}

// Rebuild makes the server that takes no writes a new standby of the other one,
// whatever state it is in, and returns once the standby is in step.
func (p *Pair) Rebuild(ctx context.Context) error {
	standby := 1 - p.primary
	if s := p.servers[standby]; s != nil {
		if err := s.Kill(); err != nil {
			return err
		}
	}
	p.Replication.SetTarget(p.Primary().Addr())
	p.Replication.Forward()
	p.Replication.Cut()
	if err := os.RemoveAll(p.data[standby]); err != nil {
		return fmt.Errorf("remove the old standby: %w", err)
	}
	host, port, err := net.SplitHostPort(p.Replication.Addr())
	if err != nil {
		return fmt.Errorf("read the address of the primary: %w", err)
	}
	_, err = p.folder.Run(ctx, p.folder.PostgresProgram("pg_basebackup"), "--pgdata", p.data[standby],
		"--dbname", fmt.Sprintf("host=%s port=%s user=mass passfile=%s application_name=standby", host, port, p.passwordFile()),
		"--write-recovery-conf", "--checkpoint=fast", "--wal-method=stream", "--no-sync")
	if err != nil {
		return fmt.Errorf("copy the primary: %w", err)
	}
	if s := p.servers[standby]; s != nil {
		err = s.Restart(ctx)
	} else {
		p.servers[standby], err = p.start(ctx, standby)
	}
	if err != nil {
		return err
	}
	return p.synchronize(ctx)
}

// synchronize makes the standby synchronous, unless the pair is asynchronous,
// and waits until it is in step.
func (p *Pair) synchronize(ctx context.Context) error {
	return p.query(ctx, p.primary, func(db *sql.DB) error {
		if !p.options.Asynchronous {
			for _, statement := range []string{"ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()"} {
				if _, err := db.ExecContext(ctx, statement); err != nil {
					return fmt.Errorf("run %q: %w", statement, err)
				}
			}
		}
		return await(ctx, "the standby is in step", func() (bool, error) {
			var inStep bool
			err := db.QueryRowContext(ctx, `SELECT count(*) > 0 FROM pg_stat_replication
                WHERE state = 'streaming' AND sync_state = $1`, map[bool]string{true: "async", false: "sync"}[p.options.Asynchronous]).Scan(&inStep)
			return inStep, err
		})
	})
}

// query opens the database of one of the servers.
func (p *Pair) query(ctx context.Context, i int, use func(*sql.DB) error) (err error) {
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	db, err := sql.Open("postgres", p.folder.PostgresURL(p.servers[i].Addr())+"&connect_timeout=5&application_name=devfault")
	if err != nil {
		return fmt.Errorf("open the database: %w", err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	db.SetMaxOpenConns(1)
	if err := db.PingContext(ctx); err != nil {
		return fmt.Errorf("connect to %s: %w", p.servers[i].Addr(), err)
	}
	return use(db)
}

// await polls until a condition is met. The error names what did not happen.
func await(ctx context.Context, what string, met func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	for {
		ok, err := met()
		if ok && err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("wait until %s: %w", what, ctx.Err()), err)
		case <-time.After(pollInterval):
		}
	}
}
