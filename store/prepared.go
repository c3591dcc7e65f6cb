package store

import (
	"context"
	"sync"
	"time"

	"github.com/jmoiron/sqlx"
)

// prepared is a statement that is prepared at its first use; database/sql then
// prepares it once on every connection, also after a restart of the server.
// Without it each call costs a second round trip and a plan.
//
// The server keeps the plan that it makes of it. One that was made while the
// tables were small reads all of them, until the server happens to analyze them:
// so a statement whose plan depends on their size is prepared anew at its first
// use after a while, which costs one plan instead of one a call.
type prepared struct {
	db    *sqlx.DB
	query string
	life  time.Duration // of a plan; 0: as long as the Store

	mu      sync.Mutex
	current *statement
}

// statement is one preparation. The last one to leave it closes it.
type statement struct {
	*sqlx.Stmt
	since time.Time
	users int
	old   bool // another one took its place
}

func (p *prepared) selectInto(ctx context.Context, dest any, args ...any) error {
	stmt, err := p.enter(ctx)
	if err != nil {
		return err
	}
	defer p.leave(stmt)
	return stmt.SelectContext(ctx, dest, args...)
}

func (p *prepared) enter(ctx context.Context) (*statement, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.current == nil || p.life > 0 && time.Since(p.current.since) > p.life {
		stmt, err := p.db.PreparexContext(ctx, p.query)
		if err != nil {
			return nil, err
		}
		if was := p.current; was != nil {
			was.old = true
			p.close(was)
		}
		p.current = &statement{Stmt: stmt, since: time.Now()}
	}
	p.current.users++
	return p.current, nil
}

func (p *prepared) leave(stmt *statement) {
	p.mu.Lock()
	defer p.mu.Unlock()
	stmt.users--
	p.close(stmt)
}

// close closes a statement that nobody uses or is going to use.
func (p *prepared) close(stmt *statement) {
	if stmt.old && stmt.users == 0 {
		_ = stmt.Close() // a connection that cannot be told is broken anyway
	}
}
