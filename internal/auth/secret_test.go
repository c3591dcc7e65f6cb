package auth_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/internal/auth"
)

func TestAPIKeys(t *testing.T) {
	t.Parallel()
	made := auth.NewKeySecret()
	require.Len(t, made, 40, "200 bits")
	require.NotEqual(t, made, auth.NewKeySecret())
	key := auth.FormatAPIKey(7, made)
	require.True(t, auth.IsAPIKey(key))
	id, got, ok := auth.ParseAPIKey(key)
	require.True(t, ok)
	require.Equal(t, int64(7), id)
	require.Equal(t, made, got)
	require.True(t, auth.SameDigest(made, auth.Digest(got)))
	require.False(t, auth.SameDigest(auth.NewKeySecret(), auth.Digest(got)))
	require.False(t, auth.SameDigest(made, nil))

	for _, wrong := range []string{
		"", "mass_", "mass_7", "mass_7_", "mass__" + made, "mass_0_" + made, "mass_-1_" + made, "mass_+7_" + made, "mass_07_" + made,
		"mass_7_" + made + "a", "mass_7_" + made[1:], "mass_7_" + strings.ToUpper(made), "MASS_7_" + made, " " + key, key + "\n",
		"mass_99999999999999999999_" + made, "mass_7_" + strings.Repeat("1", 40),
	} {
		_, _, ok := auth.ParseAPIKey(wrong)
		assert.False(t, ok, "%q", wrong)
	}
}

func FuzzParseAPIKey(f *testing.F) {
	f.Add("mass_7_" + strings.Repeat("a", 40))
	f.Add("mass_07_" + strings.Repeat("a", 40))
	f.Add("mass_7_" + strings.Repeat("a", 39) + "=")
	f.Fuzz(func(t *testing.T, s string) {
		id, secret, ok := auth.ParseAPIKey(s)
		if ok && (id <= 0 || auth.FormatAPIKey(id, secret) != s) {
			t.Fatalf("%q is not what it was made of: %d, %q", s, id, secret)
		}
	})
}

func TestOpaqueTokens(t *testing.T) {
	t.Parallel()
	require.Len(t, auth.NewOpaque(), 43, "256 bits")
	require.NotEqual(t, auth.NewOpaque(), auth.NewOpaque())
}

func TestRolesIncludeTheLesserOnes(t *testing.T) {
	t.Parallel()
	for i, role := range auth.Roles() {
		for j, other := range auth.Roles() {
			assert.Equal(t, i >= j, role.Includes(other), "%s, %s", role, other)
		}
		assert.False(t, role.Includes(""), "a rule without a role is closed")
		assert.False(t, auth.Role("").Includes(role))
		assert.False(t, auth.Role("root").Includes(role))
		parsed, err := auth.ParseRole(string(role))
		require.NoError(t, err)
		assert.Equal(t, role, parsed)
	}
	_, err := auth.ParseRole("root")
	require.Error(t, err)
	assert.Equal(t, "user:12", auth.Identity{Kind: auth.User, ID: 12}.Subject())
	assert.Equal(t, "anonymous", auth.Identity{Kind: auth.Nobody}.Subject())
}
