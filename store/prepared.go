package store

import (
	"context"
	"sync"

	"github.com/jmoiron/sqlx"
)

// prepared is a statement that is prepared at its first use; database/sql then
// prepares it once on every connection, also after a restart of the server.
// Without it each call costs a second round trip and a plan.
type prepared struct {
	db    *sqlx.DB
	query string

	mu   sync.Mutex
	stmt *sqlx.Stmt
}

func (p *prepared) selectInto(ctx context.Context, dest any, args ...any) error {
	stmt, err := p.get(ctx) //nolint:sqlclosecheck // it lives as long as the Store
	if err != nil {
		return err
	}
	return stmt.SelectContext(ctx, dest, args...)
}

func (p *prepared) get(ctx context.Context) (*sqlx.Stmt, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stmt != nil {
		return p.stmt, nil
	}
	stmt, err := p.db.PreparexContext(ctx, p.query)
	if err != nil {
		return nil, err
	}
	p.stmt = stmt
	return stmt, nil
}
