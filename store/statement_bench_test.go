package store_test

import (
	"context"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/internal/devstack/devtest"
	"github.com/leomutto/pilot-in-a-box/store"
)

// BenchmarkStatement measures what a statement costs that does nothing: the
// driver, the pool and the round trip.
func BenchmarkStatement(b *testing.B) {
	st, err := store.Open(store.Config{URL: devtest.Database(b), MaxOpen: 2, MaxIdle: 2, StatementTimeout: 10 * time.Second})
	require.NoError(b, err)
	defer st.Close()
	db := store.Raw(st)
	stmt, err := db.PreparexContext(b.Context(), `SELECT $1::int`)
	require.NoError(b, err)
	defer func() { require.NoError(b, stmt.Close()) }()
	for name, run := range map[string]func(ctx context.Context, db *sqlx.DB) error{
		"exec": func(ctx context.Context, db *sqlx.DB) error {
			_, err := db.ExecContext(ctx, `SELECT $1::int`, 1)
			return err
		},
		"query": func(ctx context.Context, db *sqlx.DB) error {
			var n int
			return db.GetContext(ctx, &n, `SELECT $1::int`, 1)
		},
		"prepared": func(ctx context.Context, _ *sqlx.DB) error { var n int; return stmt.GetContext(ctx, &n, 1) },
		"transaction": func(ctx context.Context, db *sqlx.DB) error {
			tx, err := db.BeginTxx(ctx, nil)
			if err != nil {
				return err
			}
			if _, err := tx.ExecContext(ctx, `SELECT $1::int`, 1); err != nil {
				return err
			}
			return tx.Commit()
		},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				ctx, cancel := context.WithTimeout(b.Context(), time.Minute)
				err := run(ctx, db)
				cancel()
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
