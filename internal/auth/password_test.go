package auth

import (
	"context"
	"strings"
	"testing"

	"github.com/alexedwards/argon2id"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const phrase = "correct horse battery"

func TestPasswords(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	h, err := HashPassword(ctx, phrase)
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(h, "$argon2id$v=19$m=19456,t=2,p=1$"), h)
	other, err := HashPassword(ctx, phrase)
	require.NoError(t, err)
	require.NotEqual(t, h, other, "each has its salt")

	m, err := CheckPassword(ctx, phrase, h)
	require.NoError(t, err)
	require.Equal(t, Match{OK: true}, m)
	for _, wrong := range []string{"", phrase + " ", strings.ToUpper(phrase), strings.Repeat("x", 1<<20)} {
		m, err = CheckPassword(ctx, wrong, h)
		require.NoError(t, err)
		require.Equal(t, Match{}, m)
	}
	_, err = CheckPassword(ctx, phrase, "plain text")
	require.Error(t, err)

	// One character, typed in two ways.
	h, err = HashPassword(ctx, "Mu\u0308ller und S\u00f6hne")
	require.NoError(t, err)
	m, err = CheckPassword(ctx, "M\u00fcller und So\u0308hne", h)
	require.NoError(t, err)
	require.True(t, m.OK)
}

func TestWeakerHashesAreReplaced(t *testing.T) {
	t.Parallel()
	weak := params
	weak.Memory, weak.Iterations = 8<<10, 1
	old, err := argon2id.CreateHash(phrase, &weak)
	require.NoError(t, err)
	m, err := CheckPassword(t.Context(), phrase, old)
	require.NoError(t, err)
	require.True(t, m.OK)
	require.NotEmpty(t, m.Upgraded)
	again, err := CheckPassword(t.Context(), phrase, m.Upgraded)
	require.NoError(t, err)
	require.Equal(t, Match{OK: true}, again)

	m, err = CheckPassword(t.Context(), "something else", old)
	require.NoError(t, err)
	require.Equal(t, Match{}, m, "only the right password makes a new hash")
}

// Nobody's password costs what everybody's does.
func TestNobodysHash(t *testing.T) {
	t.Parallel()
	used, _, _, err := argon2id.DecodeHash(nobodysHash)
	require.NoError(t, err)
	require.Equal(t, params, *used)
	m, err := CheckPassword(t.Context(), phrase, "")
	require.NoError(t, err)
	require.Equal(t, Match{}, m)
}

func TestPasswordsThatAreRefused(t *testing.T) {
	t.Parallel()
	for _, p := range []string{"", "elevencharsx"[:11], "ääääääääää", strings.Repeat("x", 257), phrase + "\x00", phrase + "\xff"} {
		_, err := HashPassword(t.Context(), p)
		var refused *PasswordError
		require.ErrorAs(t, err, &refused, "%q", p)
	}
	_, err := HashPassword(t.Context(), "ääääääääääää")
	require.NoError(t, err, "characters count, not bytes")
}

// More hashes than there is room for wait their turn, and no longer than their context.
func TestHashesAreBounded(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	taken := int64(0)
	for hashing.TryAcquire(1) {
		taken++
	}
	defer hashing.Release(taken)
	require.Positive(t, taken)
	cancel()
	_, err := HashPassword(ctx, phrase)
	require.ErrorIs(t, err, context.Canceled)
	_, err = CheckPassword(ctx, phrase, "")
	require.ErrorIs(t, err, context.Canceled)
}

func TestEmails(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		" Ann@Example.COM ": "ann@example.com", "admin@localhost": "admin@localhost", "a.b+c@x.y": "a.b+c@x.y", "jürgen@exämple.de": "jürgen@exämple.de",
	} {
		got, err := ParseEmail(in)
		require.NoError(t, err, in)
		assert.Equal(t, want, got)
	}
	for _, in := range []string{
		"", "ann", "@", "ann@", "@x", "Ann <ann@x.y>", "a@b@c", "a b@x.y", "a@x.y,b@x.y", "a@x\x00.y", "a\n@x.y", `"a"@x.y`, strings.Repeat("a", 251) + "@x.y",
	} {
		_, err := ParseEmail(in)
		assert.Error(t, err, "%q", in)
	}
}
