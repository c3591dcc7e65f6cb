package store

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jmoiron/sqlx"
)

// queryValues holds the values of a statement by the names of its parameters.
type queryValues map[string]any

// namedQuery is a statement whose parameters were written as @name. A name
// means the same value wherever it occurs, even in parts of the statement that
// another file contributes.
type namedQuery struct {
	text  string   // with $1, $2 … in place of the names
	names []string // the name of each of them
}

var parameterName = regexp.MustCompile(`@[a-z_]+`)

// nameParameters replaces the names in a statement by numbers.
func nameParameters(text string) namedQuery {
	found := parameterName.FindAllString(text, -1)
	// The longest names come first, because @batch is also the beginning of
	// @batch_ids.
	slices.SortFunc(found, func(a, b string) int { return cmp.Or(len(b)-len(a), strings.Compare(a, b)) })
	var names []string
	for _, name := range slices.Compact(found) {
		names = append(names, name[1:])
		text = strings.ReplaceAll(text, name, fmt.Sprintf("$%d", len(names)))
	}
	return namedQuery{text: text, names: names}
}

// args returns the values in the order of their numbers. It panics when the
// statement has a parameter without a value, which is a mistake in the program.
func (q namedQuery) args(values queryValues) []any {
	args := make([]any, len(q.names))
	for i, name := range q.names {
		value, ok := values[name]
		if !ok {
			panic("store: the statement has no value for @" + name)
		}
		args[i] = value
	}
	return args
}

// An arrayColumn is one value of each of the items that a statement takes: a
// parameter of that name, which is an array with an element for each item.
type arrayColumn[T any] struct {
	name    string // of the parameter, and of the column in the statement
	element string // SQL type of an element
	values  func(items []T) any

	// For an insertion: the tables in which the statement stores the value, in
	// columns of the same name. The text of the statement uses a value that is
	// in neither table in its own way.
	request bool // in mass_requests
	event   bool // in audit_events
}

// columnOf makes the values of a column, as an array of type A, from the items.
func columnOf[A ~[]E, T, E any](value func(item *T) E) func(items []T) any {
	return func(items []T) any {
		array := make(A, len(items))
		for i := range items {
			array[i] = value(&items[i])
		}
		return array
	}
}

// unnestColumns returns the FROM item that turns the arrays into rows, one for
// each item, with ord as the position of the item, from 1.
func unnestColumns[T any](columns []arrayColumn[T]) string {
	var arrays, names []string
	for _, c := range columns {
		arrays = append(arrays, `@`+c.name+`::`+c.element+`[]`)
		names = append(names, c.name)
	}
	return `unnest(` + strings.Join(arrays, `, `) + `)
         WITH ORDINALITY AS u(` + strings.Join(names, `, `) + `, ord)`
}

// addColumns adds the values of the columns to the values of a statement.
func addColumns[T any](values queryValues, columns []arrayColumn[T], items []T) {
	for _, c := range columns {
		values[c.name] = c.values(items)
	}
}

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
