package api

import (
	"context"
	"net/http"
	"time"

	"github.com/leomutto/pilot-in-a-box/internal/access"
	"github.com/leomutto/pilot-in-a-box/internal/auth"
	"github.com/leomutto/pilot-in-a-box/internal/web"
	"github.com/leomutto/pilot-in-a-box/jobs/payload"
	"github.com/leomutto/pilot-in-a-box/store"
)

// Key is an API key without its secret.
type Key struct {
	ID             int64      `json:"id" doc:"Id of the API key, which is also the number in the key" example:"7"`
	Name           string     `json:"name" doc:"What the key is for" example:"collector oslo-1"`
	Role           auth.Role  `json:"role" enum:"viewer,operator,admin" doc:"The most that the key may do" example:"operator"`
	CreatedBy      string     `json:"created_by" doc:"Actor that created the key" example:"user:12"`
	Owner          *string    `json:"owner" doc:"The user or API key on whose behalf the key acts; null for a key of the command line, which acts until it is revoked or expires" example:"user:12"`
	Active         bool       `json:"active" doc:"Whether the key acts now" example:"true"`
	EffectiveRole  *auth.Role `json:"effective_role" enum:"viewer,operator,admin" doc:"What the key may do now: its role, or the owner's present role where that is less; null when the key does not act" example:"operator"`
	InactiveReason *string    `json:"inactive_reason" doc:"Why the key does not act" example:"user:12, on whose behalf it acts, was disabled"`
	CreatedAt      string     `json:"created_at" format:"date-time" doc:"When the key was created" example:"2026-03-01T11:00:00.000000Z"`
	ExpiresAt      *string    `json:"expires_at" format:"date-time" doc:"When the key ends; null: never" example:"2027-03-01T11:00:00.000000Z"`
	LastUsedAt     *string    `json:"last_used_at" format:"date-time" doc:"When the key was last used, accurate to about a minute" example:"2026-03-01T12:00:00.000000Z"`
	RevokedAt      *string    `json:"revoked_at" format:"date-time" doc:"When the key was revoked"`
}

// KeyRef names an API key that a change concerns.
type KeyRef struct {
	ID   int64  `json:"id" doc:"Id of the API key" example:"7"`
	Name string `json:"name" doc:"What the key is for" example:"collector oslo-1"`
}

// NewKey is a new API key with its secret.
type NewKey struct {
	Key
	Secret string `json:"key" doc:"Send it in the header Authorization: Bearer. The key is never shown again" example:"mass_7_3kq6xn2p7vj5yw4t2mzc6dq3hr5ab7ufeo4s2lgi"`
}

// AdoptedKey is an API key that has another owner now.
type AdoptedKey struct {
	Key
	Dependents []KeyRef `json:"dependents" nullable:"false" doc:"API keys that this key created, directly or through others. They act again together with it: revoke those that should not"`
}

// KeyList is one page of keys.
type KeyList struct {
	Items []Key   `json:"items" nullable:"false" doc:"API keys in the order in which they were created"`
	Next  *string `json:"next" doc:"Path and query of the next page; null on the last one" example:"/api-keys?after=7&limit=50"`
}

type (
	keyInput struct {
		ID int64 `path:"id" minimum:"1" doc:"Id of the API key" example:"7"`
	}
	newKeyOutput struct {
		CacheControl string `header:"Cache-Control"`
		Body         NewKey
	}
	adoptedKeyOutput struct{ Body AdoptedKey }
	keyListOutput    struct{ Body KeyList }
)

func keyView(k *store.APIKey) Key {
	v := Key{
		ID: k.ID, Name: k.Name, Role: k.Role, CreatedBy: k.CreatedBy, Active: k.Standing.Acts(),
		CreatedAt: formatTime(k.CreatedAt), ExpiresAt: formatTimeOrNull(k.ExpiresAt),
		LastUsedAt: formatTimeOrNull(k.LastUsedAt), RevokedAt: formatTimeOrNull(k.RevokedAt),
	}
	if k.Owner != "" {
		v.Owner = &k.Owner
	}
	if role := k.Standing.Role; v.Active {
		v.EffectiveRole = &role
	} else {
		reason := k.Standing.Reason()
		v.InactiveReason = &reason
	}
	return v
}

func keyRefs(list []store.KeyRef) []KeyRef {
	refs := make([]KeyRef, len(list))
	for i, k := range list {
		refs[i] = KeyRef{ID: k.ID, Name: k.Name}
	}
	return refs
}

func (s *Server) addKey(ctx context.Context, in *authInput) (*newKeyOutput, error) {
	var name string
	var role auth.Role
	var expires time.Time
	err := in.decode(s.cfg, web.CheckedMember("name", true, &name, auth.ParseKeyName), web.ChoiceMember("role", true, &role, auth.Roles()),
		web.TimeMember("expires_at", &expires))
	if err != nil {
		return nil, err
	}
	if expires, err = auth.KeyExpiry(time.Now(), expires, s.cfg.KeyMaxAge); err != nil {
		return nil, web.InvalidBody(payload.Faults{{Pointer: "/expires_at", Detail: err.Error()}})
	}
	caller, _ := auth.IdentityOf(ctx)
	secret := auth.NewKeySecret()
	within, cancel := context.WithTimeout(ctx, s.cfg.AnswerTimeout)
	defer cancel()
	k, err := s.store.AddAPIKey(within, store.NewAPIKey{
		Name: name, Role: role, SecretHash: auth.Digest(secret), ExpiresAt: expires, Owner: caller,
	}, access.Origin(within))
	if err != nil {
		return nil, err
	}
	s.guard.ForgetKey(k.ID) // a client may have tried the id before the key existed
	return &newKeyOutput{CacheControl: "no-store", Body: NewKey{Key: keyView(&k), Secret: auth.FormatAPIKey(k.ID, secret)}}, nil
}

func (s *Server) listKeys(ctx context.Context, in *pageInput) (*keyListOutput, error) {
	within, cancel := context.WithTimeout(ctx, s.cfg.AnswerTimeout)
	defer cancel()
	found, err := s.store.APIKeys(within, in.After, in.Limit+1) // one extra row shows whether there is a next page
	if err != nil {
		return nil, err
	}
	page := KeyList{Items: make([]Key, 0, len(found))}
	if len(found) > in.Limit {
		found = found[:in.Limit]
		page.Next = in.next(pathKeys, found[in.Limit-1].ID)
	}
	for i := range found {
		page.Items = append(page.Items, keyView(&found[i]))
	}
	return &keyListOutput{page}, nil
}

// adoptKey makes the calling user the owner of a key. Only a user can, because
// two keys could otherwise keep each other alive after the users behind them are
// gone.
func (s *Server) adoptKey(ctx context.Context, in *keyInput) (*adoptedKeyOutput, error) {
	within, cancel := context.WithTimeout(ctx, s.cfg.AnswerTimeout)
	defer cancel()
	caller, _ := auth.IdentityOf(ctx)
	if caller.Kind != auth.User {
		_, err := s.store.APIKey(within, in.ID)
		if err == nil {
			err = &web.Problem{
				Status: http.StatusForbidden, Code: web.CodeForbidden, Detail: "Only a user can take over an API key, and you call with an API key. Log in, or run mass key adopt.",
			}
		}
		return nil, err
	}
	k, dependents, err := s.store.AdoptAPIKey(within, in.ID, caller, access.Origin(within))
	s.guard.ForgetKeys()
	if err != nil {
		return nil, err
	}
	return &adoptedKeyOutput{AdoptedKey{Key: keyView(&k), Dependents: keyRefs(dependents)}}, nil
}

func (s *Server) revokeKey(ctx context.Context, in *keyInput) (*struct{}, error) {
	within, cancel := context.WithTimeout(ctx, s.cfg.AnswerTimeout)
	defer cancel()
	_, err := s.store.RevokeAPIKey(within, in.ID, access.Origin(within))
	s.guard.ForgetKeys()
	return nil, err
}
