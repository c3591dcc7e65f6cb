package store

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
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
