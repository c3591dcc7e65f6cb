package config

import (
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The table in the documentation is the one the program uses.
func TestTheDocumentedTableIsTrue(t *testing.T) {
	t.Parallel()
	table := "| variable | default | used by | meaning |\n|---|---|---|---|\n"
	for _, s := range new(Config).settings() {
		if s.env == "" {
			continue
		}
		def := s.def
		if def != "" {
			def = "`" + def + "`"
		}
		table += fmt.Sprintf("| `%s` | %s | %s | %s |\n", s.env, def, strings.Join(strings.Fields(s.usedBy), ", "), s.help)
	}
	doc, err := os.ReadFile("../../docs/configuration.md")
	require.NoError(t, err)
	if !strings.Contains(string(doc), table) {
		t.Errorf("docs/configuration.md is out of date; the table is:\n%s", table)
	}
}

// Every field has its row in the table: an environment variable, a meaning and a
// subcommand that uses it, or else a fixed value.
func TestEveryFieldIsInTheTable(t *testing.T) {
	t.Parallel()
	c := new(Config)
	rows, names := map[any]setting{}, map[string]bool{}
	for _, s := range c.settings() {
		rows[s.value] = s
		if s.env == "" {
			assert.NotEmpty(t, s.def, "a fixed value")
			continue
		}
		assert.False(t, names[s.env], "%s is there twice", s.env)
		names[s.env] = true
		assert.NotEmpty(t, s.help, s.env)
		assert.NotEmpty(t, s.usedBy, s.env)
	}
	var visit func(group reflect.Value, path string)
	visit = func(group reflect.Value, path string) {
		for i := range group.NumField() {
			field, name := group.Field(i), path+"."+group.Type().Field(i).Name
			if field.Kind() == reflect.Struct {
				visit(field, name)
				continue
			}
			_, ok := rows[field.Addr().Interface()]
			assert.True(t, ok, "%s is not in the table", name)
			delete(rows, field.Addr().Interface())
		}
	}
	visit(reflect.ValueOf(c).Elem(), "Config")
	assert.Empty(t, rows)
}

func TestDefaultsAreValid(t *testing.T) {
	t.Parallel()
	require.NotPanics(t, func() { Default() })
	for _, s := range new(Config).settings() {
		for _, bound := range []string{s.min, s.max} {
			if bound != "" {
				assert.NoError(t, s.set(bound), s.env)
			}
		}
	}
}
