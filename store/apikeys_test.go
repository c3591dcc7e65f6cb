package store_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/internal/auth"
	"github.com/leomutto/pilot-in-a-box/store"
)

func ofUser(u store.User) auth.Identity {
	return auth.Identity{Kind: auth.User, ID: u.ID, Role: u.Role}
}
func ofKey(k store.APIKey) auth.Identity {
	return auth.Identity{Kind: auth.Key, ID: k.ID, Role: k.Role}
}
func namesOf(list []store.KeyRef) (names []string) {
	for _, k := range list {
		names = append(names, k.Name)
	}
	return names
}

// keyOf adds a key that a user or another key creates.
func (b system) keyOf(owner auth.Identity, name string, role auth.Role) store.APIKey {
	b.t.Helper()
	k, err := b.AddAPIKey(b.ctx, store.NewAPIKey{Name: name, Role: role, SecretHash: auth.Digest(name), Owner: owner}, store.Origin{Actor: owner.Subject()})
	require.NoError(b.t, err)
	return k
}

func (b system) standing(k store.APIKey) store.KeyStanding {
	b.t.Helper()
	now, err := b.APIKey(b.ctx, k.ID)
	require.NoError(b.t, err)
	return now.Standing
}

func TestKeysEndWithTheirOwner(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.user("ann@x", auth.Admin)
	bob := b.user("bob@x", auth.Admin)
	first := b.keyOf(ofUser(bob), "first", auth.Admin)
	second := b.keyOf(ofKey(first), "second", auth.Operator)
	third := b.keyOf(ofKey(second), "third", auth.Viewer)
	gone := b.keyOf(ofUser(bob), "gone", auth.Admin)
	_, err := b.RevokeAPIKey(b.ctx, gone.ID, byTest)
	require.NoError(t, err)
	assert.Equal(t, []string{"user:2", "key:1", "key:2"}, []string{first.Owner, second.Owner, third.Owner})
	assert.Equal(t, bob.ID, third.Standing.User, "the user at the other end of the chain")

	viewer, admin, on, off := auth.Viewer, auth.Admin, true, false
	changed, err := b.ChangeUser(b.ctx, bob.ID, store.UserChange{Role: &viewer}, byTest)
	require.NoError(t, err)
	assert.Equal(t, []string{"first", "second"}, namesOf(changed.Limited))
	for _, k := range []store.APIKey{first, second, third} {
		assert.Equal(t, auth.Viewer, b.standing(k).Role, k.Name)
	}
	_, err = b.ChangeUser(b.ctx, bob.ID, store.UserChange{Role: &admin}, byTest)
	require.NoError(t, err)
	assert.Equal(t, []auth.Role{auth.Admin, auth.Operator, auth.Viewer}, []auth.Role{b.standing(first).Role, b.standing(second).Role, b.standing(third).Role})

	_, remaining, err := b.SetPassword(b.ctx, bob.ID, "new", byTest)
	require.NoError(t, err)
	assert.Equal(t, []string{"first", "second", "third"}, namesOf(remaining))

	changed, err = b.ChangeUser(b.ctx, bob.ID, store.UserChange{Disabled: &on}, byTest)
	require.NoError(t, err)
	assert.Equal(t, []string{"first", "second", "third"}, namesOf(changed.Ended), "the revoked key had ended before")
	for _, enabled := range []bool{false, true} {
		for _, k := range []store.APIKey{first, second, third} {
			s := b.standing(k)
			assert.False(t, s.Acts(), "%s, enabled again: %v", k.Name, enabled)
			assert.Empty(t, s.Role)
			assert.Equal(t, store.KeyOwnerDisabled, s.Ended)
			assert.Equal(t, "user:2, on whose behalf it acts, was disabled", s.Reason())
		}
		_, err = b.ChangeUser(b.ctx, bob.ID, store.UserChange{Disabled: &off}, byTest)
		require.NoError(t, err)
	}
	_, err = b.db.ExecContext(b.ctx, `DELETE FROM users WHERE id = $1`, bob.ID)
	require.ErrorContains(t, err, "api_keys_owner_user_id_fkey", "a user with keys cannot be deleted, not even by hand")

	assert.Equal(t, []string{
		"user:2 key_add key:1 as admin: first", "key:1 key_add key:2 as operator: second", "key:2 key_add key:3 as viewer: third",
		"user:2 key_add key:4 as admin: gone", "test key_revoke key:4: gone", "test user_role user:2 from admin to viewer: bob@x",
		"test key_limit key:1 to viewer with user:2: first", "test key_limit key:2 to viewer with user:2: second",
		"test user_role user:2 from viewer to admin: bob@x",
		"test password_change user:2: bob@x; API keys that go on: key:1 key:2 key:3",
		"test user_disable user:2: bob@x", "test key_end key:1 with user:2: first", "test key_end key:2 with user:2: second",
		"test key_end key:3 with user:2: third", "test user_enable user:2: bob@x",
	}, b.deeds()[2:])
}

func TestAKeyIsTakenOver(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ann, bob := b.user("ann@x", auth.Admin), b.user("bob@x", auth.Admin)
	first := b.keyOf(ofUser(bob), "first", auth.Admin)
	second := b.keyOf(ofKey(first), "second", auth.Operator)
	on := true
	_, err := b.ChangeUser(b.ctx, bob.ID, store.UserChange{Disabled: &on}, byTest)
	require.NoError(t, err)

	k, dependents, err := b.AdoptAPIKey(b.ctx, first.ID, ofUser(ann), byTest)
	require.NoError(t, err)
	assert.Equal(t, "user:1", k.Owner)
	assert.Equal(t, "user:2", k.CreatedBy, "that does not change")
	assert.True(t, k.Standing.Acts())
	assert.Equal(t, []string{"second"}, namesOf(dependents))
	assert.True(t, b.standing(second).Acts())
	_, _, err = b.AdoptAPIKey(b.ctx, first.ID, ofUser(ann), byTest)
	require.NoError(t, err, "it is so already")

	for name, owner := range map[string]auth.Identity{"a key": ofKey(second), "a disabled user": ofUser(bob), "anybody": {Kind: auth.Nobody}} {
		_, _, err = b.AdoptAPIKey(b.ctx, first.ID, owner, byTest)
		require.ErrorIs(t, err, store.ErrConflict, name)
	}
	_, err = b.db.ExecContext(b.ctx, `UPDATE api_keys SET owner_user_id = NULL, owner_key_id = 2 WHERE id = 1`)
	require.ErrorContains(t, err, "api_keys_owner_older", "owners cannot form a circle")

	ended, err := b.RevokeAPIKey(b.ctx, first.ID, byTest)
	require.NoError(t, err)
	assert.Equal(t, []string{"second"}, namesOf(ended))
	assert.Equal(t, "key:1, on whose behalf it acts, was revoked", b.standing(second).Reason())
	_, _, err = b.AdoptAPIKey(b.ctx, first.ID, ofUser(ann), byTest)
	require.ErrorIs(t, err, store.ErrConflict, "it is revoked")
	k, _, err = b.AdoptAPIKey(b.ctx, second.ID, auth.Identity{}, byTest)
	require.NoError(t, err)
	assert.Empty(t, k.Owner)
	assert.True(t, k.Standing.Acts())
	assert.Equal(t, []string{
		"test key_end key:1 with user:2: first", "test key_end key:2 with user:2: second", "test key_adopt key:1 from user:2 to user:1: first",
		"test key_revoke key:1: first", "test key_end key:2 with key:1: second", "test key_adopt key:2 from key:1 to the command line: second",
	}, b.deeds()[5:])
}

func TestKeysExpire(t *testing.T) {
	t.Parallel()
	b := setup(t)
	soon := time.Now().Add(time.Hour).UTC().Truncate(time.Microsecond)
	k, err := b.AddAPIKey(b.ctx, store.NewAPIKey{Name: "short", Role: auth.Viewer, SecretHash: auth.Digest("x"), ExpiresAt: soon}, byTest)
	require.NoError(t, err)
	assert.Equal(t, soon, k.ExpiresAt)
	assert.True(t, k.Standing.Acts())
	child := b.keyOf(ofKey(k), "child", auth.Viewer)
	for within, want := range map[time.Duration]int{time.Minute: 0, 2 * time.Hour: 1} {
		list, err := b.ExpiringKeys(b.ctx, within, 10)
		require.NoError(t, err)
		assert.Len(t, list, want)
	}
	_, err = b.db.ExecContext(b.ctx, `UPDATE api_keys SET expires_at = now() WHERE id = $1`, k.ID)
	require.NoError(t, err)
	assert.Equal(t, "the key has expired", b.standing(k).Reason())
	assert.Equal(t, "key:1, on whose behalf it acts, has expired", b.standing(child).Reason())
	_, _, err = b.AdoptAPIKey(b.ctx, k.ID, auth.Identity{}, byTest)
	require.ErrorIs(t, err, store.ErrConflict)
}

func TestWhoCannotOwnAKey(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.user("ann@x", auth.Admin)
	bob := b.user("bob@x", auth.Admin)
	last := b.keyOf(ofUser(bob), "0", auth.Admin)
	add := func(owner auth.Identity) error {
		_, err := b.AddAPIKey(b.ctx, store.NewAPIKey{Name: "x", Role: auth.Viewer, SecretHash: auth.Digest("x"), Owner: owner}, byTest)
		return err
	}
	for range 7 {
		last = b.keyOf(ofKey(last), "next", auth.Admin)
	}
	require.ErrorIs(t, add(ofKey(last)), store.ErrKeyChain)
	on := true
	_, err := b.ChangeUser(b.ctx, bob.ID, store.UserChange{Disabled: &on}, byTest)
	require.NoError(t, err)
	for _, owner := range []auth.Identity{ofUser(bob), ofKey(last), {Kind: auth.Nobody}} {
		require.ErrorIs(t, add(owner), store.ErrOwnerEnded, owner.Subject())
	}
}

// The keys that the key of mass dev created survive its replacement.
func TestKeysOfAReplacedKeyGoOn(t *testing.T) {
	t.Parallel()
	b := setup(t)
	old := b.keyOf(auth.Identity{}, "mass dev", auth.Admin)
	child := b.keyOf(ofKey(old), "child", auth.Viewer)
	grandchild := b.keyOf(ofKey(child), "grandchild", auth.Viewer)
	require.NoError(t, b.RevokeAPIKeysNamed(b.ctx, "mass dev", byTest))
	assert.False(t, b.standing(old).Acts())
	assert.True(t, b.standing(child).Acts())
	assert.True(t, b.standing(grandchild).Acts())
	k, err := b.APIKey(b.ctx, child.ID)
	require.NoError(t, err)
	assert.Empty(t, k.Owner)
}

// A thief with thousands of keys does not keep the user from being disabled.
func TestAUserWithManyKeysIsDisabled(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.user("ann@x", auth.Admin)
	bob := b.user("bob@x", auth.Admin)
	_, err := b.db.ExecContext(b.ctx, `
        INSERT INTO api_keys (name, role, created_by, owner_user_id, secret_hash) SELECT 'k'||g, 'admin', 'user:2', 2, sha256('x') FROM generate_series(1, 5000) g`)
	require.NoError(t, err)
	on := true
	changed, err := b.ChangeUser(b.ctx, bob.ID, store.UserChange{Disabled: &on}, byTest)
	require.NoError(t, err)
	assert.Len(t, changed.Ended, 5000)
	assert.Len(t, b.deeds(), 3+5000)
}
