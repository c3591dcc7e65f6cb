package api

import (
	"context"

	"github.com/leomutto/pilot-in-a-box/internal/access"
	"github.com/leomutto/pilot-in-a-box/internal/auth"
	"github.com/leomutto/pilot-in-a-box/internal/web"
	"github.com/leomutto/pilot-in-a-box/store"
)

// Key is an API key without its secret.
type Key struct {
	ID         int64     `json:"id" doc:"Id of the API key, which is also the number in the key" example:"7"`
	Name       string    `json:"name" doc:"What the key is for" example:"collector oslo-1"`
	Role       auth.Role `json:"role" enum:"viewer,operator,admin" doc:"Role, which decides what the key may do" example:"operator"`
	CreatedBy  string    `json:"created_by" doc:"Actor that created the key" example:"user:12"`
	CreatedAt  string    `json:"created_at" format:"date-time" doc:"When the key was created" example:"2026-03-01T11:00:00.000000Z"`
	LastUsedAt *string   `json:"last_used_at" format:"date-time" doc:"When the key was last used, accurate to about a minute" example:"2026-03-01T12:00:00.000000Z"`
	RevokedAt  *string   `json:"revoked_at" format:"date-time" doc:"When the key was revoked"`
}

// NewKey is a new API key with its secret.
type NewKey struct {
	Key
	Secret string `json:"key" doc:"Send it in the header Authorization: Bearer. The key is never shown again" example:"mass_7_3kq6xn2p7vj5yw4t2mzc6dq3hr5ab7ufeo4s2lgi"`
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
	keyListOutput struct{ Body KeyList }
)

func keyView(k *store.APIKey) Key {
	return Key{
		ID: k.ID, Name: k.Name, Role: k.Role, CreatedBy: k.CreatedBy,
		CreatedAt: formatTime(k.CreatedAt), LastUsedAt: formatTimeOrNull(k.LastUsedAt), RevokedAt: formatTimeOrNull(k.RevokedAt),
	}
}

func (s *Server) addKey(ctx context.Context, in *authInput) (*newKeyOutput, error) {
	var name string
	var role auth.Role
	if err := in.decode(s.cfg, web.CheckedMember("name", true, &name, auth.ParseKeyName), web.ChoiceMember("role", true, &role, auth.Roles())); err != nil {
		return nil, err
	}
	secret := auth.NewKeySecret()
	within, cancel := context.WithTimeout(ctx, s.cfg.AnswerTimeout)
	defer cancel()
	k, err := s.store.AddAPIKey(within, name, role, auth.Digest(secret), access.Origin(within))
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

func (s *Server) revokeKey(ctx context.Context, in *keyInput) (*struct{}, error) {
	within, cancel := context.WithTimeout(ctx, s.cfg.AnswerTimeout)
	defer cancel()
	err := s.store.RevokeAPIKey(within, in.ID, access.Origin(within))
	s.guard.ForgetKey(in.ID)
	return nil, err
}
