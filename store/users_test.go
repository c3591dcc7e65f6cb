package store_test

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/internal/auth"
	"github.com/leomutto/pilot-in-a-box/store"
)

var byTest = store.Origin{Actor: "test"}

func (b system) user(email string, role auth.Role) store.User {
	b.t.Helper()
	u, err := b.AddUser(b.ctx, email, role, "hash", byTest)
	require.NoError(b.t, err)
	return u
}

// deeds lists the events that concern no request, oldest first.
func (b system) deeds() (list []string) {
	b.t.Helper()
	require.NoError(b.t, b.db.SelectContext(b.ctx, &list,
		`SELECT actor || ' ' || action || ' ' || coalesce(detail, '') FROM audit_events WHERE request_id IS NULL ORDER BY id`))
	return list
}

func TestUsers(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ann := b.user("ann@x", auth.Admin)
	bob := b.user("bob@x", auth.Viewer)
	_, err := b.AddUser(b.ctx, "ann@x", auth.Viewer, "hash", byTest)
	require.ErrorIs(t, err, store.ErrEmailTaken)
	require.ErrorIs(t, err, store.ErrConflict)
	_, err = b.AddUser(b.ctx, "eve@x", "root", "hash", byTest)
	require.ErrorIs(t, err, store.ErrInvalid)

	got, err := b.UserByEmail(b.ctx, "ann@x")
	require.NoError(t, err)
	require.Equal(t, ann, got)
	got, err = b.User(b.ctx, bob.ID)
	require.NoError(t, err)
	require.Equal(t, bob, got)
	_, err = b.User(b.ctx, bob.ID+100)
	require.ErrorIs(t, err, store.ErrNotFound)
	_, err = b.UserByEmail(b.ctx, "eve@x")
	require.ErrorIs(t, err, store.ErrNotFound)
	list, err := b.Users(b.ctx, ann.ID, 10)
	require.NoError(t, err)
	require.Equal(t, []store.User{bob}, list)

	operator, on, off := auth.Operator, true, false
	changed, err := b.ChangeUser(b.ctx, bob.ID, store.UserChange{Role: &operator}, byTest)
	require.NoError(t, err)
	bob = changed.User
	require.Equal(t, auth.Operator, bob.Role)
	require.Equal(t, 1, bob.Generation, "a role is looked up, so tokens stay good")
	changed, err = b.ChangeUser(b.ctx, bob.ID, store.UserChange{Disabled: &on}, byTest)
	require.NoError(t, err)
	bob = changed.User
	require.True(t, bob.Disabled())
	require.Equal(t, 2, bob.Generation)
	_, err = b.ChangeUser(b.ctx, bob.ID, store.UserChange{Disabled: &on}, byTest)
	require.NoError(t, err, "it is so already")
	changed, err = b.ChangeUser(b.ctx, bob.ID, store.UserChange{Disabled: &off}, byTest)
	require.NoError(t, err)
	bob = changed.User
	require.False(t, bob.Disabled())
	require.Equal(t, 2, bob.Generation, "what was issued before stays void")
	_, err = b.ChangeUser(b.ctx, bob.ID+100, store.UserChange{Disabled: &off}, byTest)
	require.ErrorIs(t, err, store.ErrNotFound)

	require.NoError(t, b.UpgradeHash(b.ctx, bob.ID, "another", "stronger"))
	require.NoError(t, b.UpgradeHash(b.ctx, ann.ID, "hash", "stronger"))
	bob, _, err = b.SetPassword(b.ctx, bob.ID, "new", byTest)
	require.NoError(t, err)
	require.Equal(t, "new", bob.PasswordHash)
	require.Equal(t, 3, bob.Generation)
	ann, err = b.User(b.ctx, ann.ID)
	require.NoError(t, err)
	require.Equal(t, "stronger", ann.PasswordHash)
	_, _, err = b.SetPassword(b.ctx, bob.ID+100, "new", byTest)
	require.ErrorIs(t, err, store.ErrNotFound)

	assert.Equal(t, []string{
		"test user_add user:1 as admin: ann@x", "test user_add user:2 as viewer: bob@x", "test user_role user:2 from viewer to operator: bob@x",
		"test user_disable user:2: bob@x", "test user_enable user:2: bob@x", "test password_change user:2: bob@x",
	}, b.deeds())
}

func TestTheLastAdminStays(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ann, bob := b.user("ann@x", auth.Admin), b.user("bob@x", auth.Admin)
	viewer, on, off := auth.Viewer, true, false

	// Both leave at once: one of them stays.
	var wg sync.WaitGroup
	errs := make([]error, 2)
	for i, u := range []store.User{ann, bob} {
		wg.Go(func() { _, errs[i] = b.ChangeUser(b.ctx, u.ID, store.UserChange{Disabled: &on}, byTest) })
	}
	wg.Wait()
	last, gone := ann, bob
	if errs[0] == nil {
		last, gone = bob, ann
		errs[0], errs[1] = errs[1], errs[0]
	}
	require.ErrorIs(t, errs[0], store.ErrLastAdmin)
	require.NoError(t, errs[1])

	_, err := b.ChangeUser(b.ctx, last.ID, store.UserChange{Role: &viewer}, byTest)
	require.ErrorIs(t, err, store.ErrLastAdmin)
	_, err = b.ChangeUser(b.ctx, gone.ID, store.UserChange{Disabled: &off}, byTest)
	require.NoError(t, err)
	_, err = b.ChangeUser(b.ctx, last.ID, store.UserChange{Role: &viewer}, byTest)
	require.NoError(t, err)
}

func TestAPIKeyRows(t *testing.T) {
	t.Parallel()
	b := setup(t)
	k, err := b.AddAPIKey(b.ctx, store.NewAPIKey{Name: "collector", Role: auth.Operator, SecretHash: auth.Digest("secret")}, byTest)
	require.NoError(t, err)
	got, err := b.APIKey(b.ctx, k.ID)
	require.NoError(t, err)
	require.Equal(t, k, got)
	require.Equal(t, "test", got.CreatedBy)
	require.True(t, got.LastUsedAt.IsZero())

	require.NoError(t, b.UsedAPIKey(b.ctx, k.ID))
	used, err := b.APIKey(b.ctx, k.ID)
	require.NoError(t, err)
	require.False(t, used.LastUsedAt.IsZero())
	require.NoError(t, b.UsedAPIKey(b.ctx, k.ID))
	again, err := b.APIKey(b.ctx, k.ID)
	require.NoError(t, err)
	require.Equal(t, used, again, "once a minute")

	other, err := b.AddAPIKey(b.ctx, store.NewAPIKey{Name: "other", Role: auth.Viewer, SecretHash: auth.Digest("x")}, byTest)
	require.NoError(t, err)
	require.NoError(t, b.RevokeAPIKeysNamed(b.ctx, "collector", byTest))
	_, err = b.RevokeAPIKey(b.ctx, k.ID, byTest)
	require.NoError(t, err, "it is so already")
	_, err = b.RevokeAPIKey(b.ctx, k.ID+100, byTest)
	require.ErrorIs(t, err, store.ErrNotFound)
	got, err = b.APIKey(b.ctx, k.ID)
	require.NoError(t, err)
	require.False(t, got.RevokedAt.IsZero())
	list, err := b.APIKeys(b.ctx, 0, 10)
	require.NoError(t, err)
	require.Equal(t, []store.APIKey{got, other}, list)
	assert.Equal(t, []string{"test key_add key:1 as operator: collector", "test key_add key:2 as viewer: other", "test key_revoke key:1: collector"}, b.deeds())
}

// open opens a session and returns the digest of its token.
func (b system) open(u store.User, kind store.SessionKind) []byte {
	b.t.Helper()
	digest := auth.Digest(auth.NewOpaque())
	expires, err := b.OpenSession(b.ctx, store.NewSession{Kind: kind, User: u.ID, Generation: u.Generation, TokenHash: digest, TTL: time.Hour},
		store.Origin{Actor: "user:1"})
	require.NoError(b.t, err)
	require.WithinDuration(b.t, time.Now().Add(time.Hour), expires, 10*time.Minute)
	return digest
}

func TestRefreshTokensRotate(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ann := b.user("ann@x", auth.Admin)
	first, other := b.open(ann, store.RefreshSession), b.open(ann, store.RefreshSession)
	second, third := auth.Digest("second"), auth.Digest("third")

	r, err := b.RotateRefreshToken(b.ctx, first, second, byTest)
	require.NoError(t, err)
	require.Equal(t, ann.ID, r.User.ID)
	again, err := b.RotateRefreshToken(b.ctx, second, third, byTest)
	require.NoError(t, err)
	require.Equal(t, r.Expires, again.Expires, "a chain ends when its first token would have")

	// One that was rotated comes again: its family is over, and no other.
	_, err = b.RotateRefreshToken(b.ctx, first, auth.Digest("stolen"), byTest)
	require.ErrorIs(t, err, store.ErrReused)
	for _, token := range [][]byte{third, second, first, auth.Digest("stolen"), auth.Digest("made up")} {
		_, err = b.RotateRefreshToken(b.ctx, token, auth.Digest("x"), byTest)
		require.ErrorIs(t, err, store.ErrNotFound)
	}
	_, err = b.RotateRefreshToken(b.ctx, other, auth.Digest("other's next"), byTest)
	require.NoError(t, err)
	assert.Equal(t, []string{
		"test user_add user:1 as admin: ann@x", "user:1 login ann@x", "user:1 login ann@x", "user:1 refresh_reuse ann@x: family 1 revoked",
	}, b.deeds())
}

// Of many who show the same token at once, one gets the next; and as the others
// must have a copy, that one is revoked as well.
func TestARefreshTokenIsGoodOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	token := b.open(b.user("ann@x", auth.Admin), store.RefreshSession)
	var wg sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		wg.Go(func() { _, errs[i] = b.RotateRefreshToken(b.ctx, token, auth.Digest(auth.NewOpaque()), byTest) })
	}
	wg.Wait()
	good := 0
	for _, err := range errs {
		if err == nil {
			good++
		}
	}
	require.Equal(t, 1, good)
	var alive int
	require.NoError(t, b.db.GetContext(b.ctx, &alive, `SELECT count(*) FROM refresh_tokens WHERE revoked_at IS NULL`))
	require.Zero(t, alive)
}

func TestWhatEndsSessions(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.user("admin@x", auth.Admin)
	ann := b.user("ann@x", auth.Operator)
	on, off := true, false
	for name, end := range map[string]func(refresh, session []byte) error{
		"logout": func(refresh, session []byte) error {
			require.ErrorIs(t, b.EndSession(b.ctx, store.RefreshSession, session, byTest), store.ErrNotFound, "a cookie is no refresh token")
			if err := b.EndSession(b.ctx, store.RefreshSession, refresh, byTest); err != nil {
				return err
			}
			return b.EndSession(b.ctx, store.BrowserSession, session, byTest)
		},
		"password": func(_, _ []byte) error {
			_, _, err := b.SetPassword(b.ctx, ann.ID, "new", byTest)
			return err
		},
		"disabled": func(_, _ []byte) error {
			_, err := b.ChangeUser(b.ctx, ann.ID, store.UserChange{Disabled: &on}, byTest)
			return err
		},
		"expired": func(_, _ []byte) error {
			_, err := b.db.ExecContext(b.ctx, `UPDATE refresh_tokens SET expires_at = now()`)
			return err
		},
	} {
		changed, err := b.ChangeUser(b.ctx, ann.ID, store.UserChange{Disabled: &off}, byTest)
		ann = changed.User
		require.NoError(t, err)
		refresh, session := b.open(ann, store.RefreshSession), b.open(ann, store.BrowserSession)
		got, err := b.BrowserSession(b.ctx, session, time.Hour)
		require.NoError(t, err)
		require.Equal(t, ann.ID, got.User.ID)
		_, err = b.BrowserSession(b.ctx, refresh, time.Hour)
		require.ErrorIs(t, err, store.ErrNotFound, "a refresh token is no cookie")
		_, err = b.RotateRefreshToken(b.ctx, session, auth.Digest("x"), byTest)
		require.ErrorIs(t, err, store.ErrNotFound)

		require.NoError(t, end(refresh, session), name)
		_, err = b.BrowserSession(b.ctx, session, time.Hour)
		require.ErrorIs(t, err, store.ErrNotFound, name)
		_, err = b.RotateRefreshToken(b.ctx, refresh, auth.Digest("y"), byTest)
		require.ErrorIs(t, err, store.ErrNotFound, name)
		require.ErrorIs(t, b.EndSession(b.ctx, store.RefreshSession, refresh, byTest), store.ErrNotFound, name)
		if ann, err = b.User(b.ctx, ann.ID); name == "password" || name == "disabled" {
			require.NoError(t, err)
			_, err = b.OpenSession(b.ctx, store.NewSession{Kind: store.RefreshSession, User: ann.ID, Generation: ann.Generation - 1, TokenHash: auth.Digest("z"), TTL: time.Hour}, byTest)
			require.ErrorIs(t, err, store.ErrNotFound, "the password was checked before it changed")
		}
	}
}

func TestSessionsEndWithoutUse(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ann := b.user("ann@x", auth.Admin)
	session := b.open(ann, store.BrowserSession)
	age := func(interval string) {
		t.Helper()
		_, err := b.db.ExecContext(b.ctx, `UPDATE refresh_tokens SET seen_at = now() - $1::interval`, interval)
		require.NoError(t, err)
	}
	age("50 minutes")
	_, err := b.BrowserSession(b.ctx, session, time.Hour)
	require.NoError(t, err)
	require.NoError(t, b.SawSession(b.ctx, session))
	got, err := b.BrowserSession(b.ctx, session, time.Minute)
	require.NoError(t, err)
	require.WithinDuration(t, time.Now(), got.SeenAt, 10*time.Minute)
	age("61 minutes")
	_, err = b.BrowserSession(b.ctx, session, time.Hour)
	require.ErrorIs(t, err, store.ErrNotFound)

	// The next login sweeps what has expired, and only that.
	_, err = b.db.ExecContext(b.ctx, `UPDATE refresh_tokens SET expires_at = now() - interval '1 second'`)
	require.NoError(t, err)
	b.open(ann, store.BrowserSession)
	b.open(ann, store.RefreshSession)
	var left int
	require.NoError(t, b.db.GetContext(b.ctx, &left, `SELECT count(*) FROM refresh_tokens`))
	require.Equal(t, 2, left)
}

func TestFailedLoginsAreOnTheTrail(t *testing.T) {
	t.Parallel()
	b := setup(t)
	long := make([]byte, 5000)
	for i := range long {
		long[i] = 'a'
	}
	require.NoError(t, b.RecordFailedLogin(b.ctx, "eve@x", store.Origin{Actor: "anonymous"}))
	require.NoError(t, b.RecordFailedLogin(b.ctx, "\x00\xff"+string(long), store.Origin{Actor: "anonymous"}))
	deeds := b.deeds()
	require.Equal(t, "anonymous login_failed eve@x", deeds[0])
	require.Less(t, len(deeds[1]), 1100)
}
