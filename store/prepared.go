package store

import (
	"context"
	"sync"
	"time"

	"github.com/jmoiron/sqlx"
)

// prepared is a statement that is prepared at its first use. database/sql then
// prepares it once on each connection, even after a restart of the server.
// Without preparation, each call costs a second round trip and a plan.
//
// The server keeps the plan that it made. A plan that was made while the tables
// were small reads whole tables, until the server happens to analyze them. A
// statement whose plan depends on the size of tables is therefore prepared
// again at its first use after a while, which costs one plan instead of one per
// call.
type prepared struct {
	db    *sqlx.DB
	query string
	life  time.Duration // of a plan; 0: as long as the Store

	mu        sync.Mutex
	current   *statement
	preparing chan struct{} // closed when the preparation under way has ended; nil while there is none
}

// statement is one preparation. It is closed when it is outdated and its last
// user has left.
type statement struct {
	*sqlx.Stmt
	since    time.Time
	users    int
	outdated bool // another preparation took its place
}

func (p *prepared) selectInto(ctx context.Context, dest any, args ...any) error {
	stmt, err := p.enter(ctx)
	if err != nil {
		return err
	}
	defer p.leave(stmt)
	return stmt.SelectContext(ctx, dest, args...)
}

// enter returns the current preparation, or makes one. A caller waits for a
// preparation that another caller makes only when there is none at all, and no
// longer than the caller's context lasts: p.mu is never locked during a call to
// the server.
func (p *prepared) enter(ctx context.Context) (*statement, error) {
	for {
		p.mu.Lock()
		fresh := p.current != nil && (p.life <= 0 || time.Since(p.current.since) <= p.life)
		if fresh || p.current != nil && p.preparing != nil {
			p.current.users++
			defer p.mu.Unlock()
			return p.current, nil
		}
		if p.preparing == nil {
			p.preparing = make(chan struct{})
			p.mu.Unlock()
			return p.prepare(ctx)
		}
		others := p.preparing
		p.mu.Unlock()
		select {
		case <-others:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (p *prepared) prepare(ctx context.Context) (*statement, error) {
	stmt, err := p.db.PreparexContext(ctx, p.query)
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.preparing)
	p.preparing = nil
	if err != nil {
		return nil, err
	}
	if last := p.current; last != nil {
		last.outdated = true
		p.closeUnused(last)
	}
	p.current = &statement{Stmt: stmt, since: time.Now(), users: 1}
	return p.current, nil
}

func (p *prepared) leave(stmt *statement) {
	p.mu.Lock()
	defer p.mu.Unlock()
	stmt.users--
	p.closeUnused(stmt)
}

// closeUnused closes an outdated statement without users. It does not wait for
// the server, because connections of package pgconn postpone that exchange.
func (p *prepared) closeUnused(stmt *statement) {
	if stmt.outdated && stmt.users == 0 {
		_ = stmt.Close() // a connection that fails here is broken for all others, too
	}
}
