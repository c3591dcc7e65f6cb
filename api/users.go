package api

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"

	"github.com/leomutto/pilot-in-a-box/internal/access"
	"github.com/leomutto/pilot-in-a-box/internal/auth"
	"github.com/leomutto/pilot-in-a-box/internal/web"
	"github.com/leomutto/pilot-in-a-box/jobs/payload"
	"github.com/leomutto/pilot-in-a-box/store"
)

// User is a person with a password and a role.
type User struct {
	ID          int64     `json:"id" doc:"Id of the user, which never changes" example:"12"`
	Email       string    `json:"email" format:"email" doc:"E-mail address with which the user logs in" example:"ann@example.com"`
	Role        auth.Role `json:"role" enum:"viewer,operator,admin" doc:"Role, which decides what the user may do" example:"operator"`
	Disabled    bool      `json:"disabled" doc:"true: the user cannot log in" example:"false"`
	CreatedAt   string    `json:"created_at" format:"date-time" doc:"When the user was added" example:"2026-03-01T11:00:00.000000Z"`
	LastLoginAt *string   `json:"last_login_at" format:"date-time" doc:"When the user last logged in" example:"2026-03-01T12:00:00.000000Z"`
	DisabledAt  *string   `json:"disabled_at" format:"date-time" doc:"When the user was disabled"`
}

// ChangedUser is a user after a change, with what became of the API keys that
// act on the user's behalf.
type ChangedUser struct {
	User
	EndedKeys   []KeyRef `json:"ended_keys" nullable:"false" doc:"API keys that no longer act, because the user was disabled. Another admin can take them over"`
	LimitedKeys []KeyRef `json:"limited_keys" nullable:"false" doc:"API keys that may do less than before, because the user's role is less than theirs"`
}

// UserList is one page of users.
type UserList struct {
	Items []User  `json:"items" nullable:"false" doc:"Users in the order in which they were added"`
	Next  *string `json:"next" doc:"Path and query of the next page; null on the last one" example:"/users?after=12&limit=50"`
}

type (
	userInput struct {
		ID int64 `path:"id" minimum:"1" doc:"Id of the user" example:"12"`
	}
	userBodyInput struct {
		authInput
		ID int64 `path:"id" minimum:"1" doc:"Id of the user" example:"12"`
	}
	pageInput struct {
		Limit int   `query:"limit" minimum:"1" maximum:"500" default:"50" doc:"Maximum number of users on a page" example:"50"`
		After int64 `query:"after" minimum:"0" doc:"Only users after the user with this id" example:"12"`
	}
	userOutput        struct{ Body User }
	changedUserOutput struct{ Body ChangedUser }
	userListOutput    struct{ Body UserList }
	addedUser         struct {
		Location string `header:"Location" doc:"Path of the user" example:"/users/12"`
		Body     User
	}
)

func userView(u *store.User) User {
	return User{
		ID: u.ID, Email: u.Email, Role: u.Role, Disabled: u.Disabled(),
		CreatedAt: formatTime(u.CreatedAt), LastLoginAt: formatTimeOrNull(u.LastLoginAt), DisabledAt: formatTimeOrNull(u.DisabledAt),
	}
}

func (s *Server) register(ctx context.Context, in *authInput) (*addedUser, error) {
	var email, password string
	role := auth.Viewer
	err := in.decode(s.cfg, web.CheckedMember("email", true, &email, auth.ParseEmail), web.TextMember("password", true, &password), web.ChoiceMember("role", false, &role, auth.Roles()))
	if err != nil {
		return nil, err
	}
	within, cancel := context.WithTimeout(ctx, s.cfg.AnswerTimeout)
	defer cancel()
	hash, err := hashPassword(within, "password", password)
	if err != nil {
		return nil, err
	}
	u, err := s.store.AddUser(within, email, role, hash, access.Origin(within))
	if err != nil {
		return nil, err
	}
	return &addedUser{Location: pathUsers + "/" + strconv.FormatInt(u.ID, 10), Body: userView(&u)}, nil
}

func (s *Server) listUsers(ctx context.Context, in *pageInput) (*userListOutput, error) {
	within, cancel := context.WithTimeout(ctx, s.cfg.AnswerTimeout)
	defer cancel()
	found, err := s.store.Users(within, in.After, in.Limit+1) // one extra row shows whether there is a next page
	if err != nil {
		return nil, err
	}
	page := UserList{Items: make([]User, 0, len(found))}
	if len(found) > in.Limit {
		found = found[:in.Limit]
		page.Next = in.next(pathUsers, found[in.Limit-1].ID)
	}
	for i := range found {
		page.Items = append(page.Items, userView(&found[i]))
	}
	return &userListOutput{page}, nil
}

func (in *pageInput) next(path string, last int64) *string {
	next := path + "?" + url.Values{"limit": {strconv.Itoa(in.Limit)}, "after": {strconv.FormatInt(last, 10)}}.Encode()
	return &next
}

func (s *Server) getUser(ctx context.Context, in *userInput) (*userOutput, error) {
	within, cancel := context.WithTimeout(ctx, s.cfg.AnswerTimeout)
	defer cancel()
	u, err := s.store.User(within, in.ID)
	if err != nil {
		return nil, err
	}
	return &userOutput{userView(&u)}, nil
}

func (s *Server) changeUser(ctx context.Context, in *userBodyInput) (*changedUserOutput, error) {
	var role auth.Role
	var change store.UserChange
	if err := in.decode(s.cfg, web.ChoiceMember("role", false, &role, auth.Roles()), web.OptionalFlagMember("disabled", &change.Disabled)); err != nil {
		return nil, err
	}
	if role != "" {
		change.Role = &role
	}
	if change == (store.UserChange{}) {
		return nil, web.InvalidBody(payload.Faults{{Pointer: "", Detail: "must have role, disabled or both"}})
	}
	within, cancel := context.WithTimeout(ctx, s.cfg.AnswerTimeout)
	defer cancel()
	u, err := s.store.ChangeUser(within, in.ID, change, access.Origin(within))
	s.guard.ForgetUser(in.ID)
	s.guard.ForgetKeys()
	if err != nil {
		return nil, err
	}
	return &changedUserOutput{ChangedUser{User: userView(&u.User), EndedKeys: keyRefs(u.Ended), LimitedKeys: keyRefs(u.Limited)}}, nil
}

func (s *Server) setPassword(ctx context.Context, in *userBodyInput) (*struct{}, error) {
	var password string
	if err := in.decode(s.cfg, web.TextMember("password", true, &password)); err != nil {
		return nil, err
	}
	// A stolen token must not be enough to take its owner's account over, so
	// that the owner is shut out; nor must a key that such a token created.
	if caller, _ := auth.IdentityOf(ctx); caller.Kind == auth.User && caller.ID == in.ID || caller.Kind == auth.Key && caller.Owner == in.ID {
		return nil, &web.Problem{
			Status: http.StatusForbidden, Code: web.CodeForbidden,
			Detail: "This is your own account, or that of the user on whose behalf your API key acts: its password is changed with POST " +
				pathAuth + "password, which asks for the current password.",
		}
	}
	return nil, s.storePassword(ctx, in.ID, "password", password)
}

// storePassword stores a password. If the password is refused, the problem
// names the member of the body that held it.
func (s *Server) storePassword(ctx context.Context, user int64, member, password string) error {
	within, cancel := context.WithTimeout(ctx, s.cfg.AnswerTimeout)
	defer cancel()
	hash, err := hashPassword(within, member, password)
	if err != nil {
		return err
	}
	_, _, err = s.store.SetPassword(within, user, hash, access.Origin(within))
	s.guard.ForgetUser(user)
	return err
}

func hashPassword(ctx context.Context, member, password string) (string, error) {
	hash, err := auth.HashPassword(ctx, password)
	var refused *auth.PasswordError
	if errors.As(err, &refused) {
		return "", web.InvalidBody(payload.Faults{{Pointer: "/" + member, Detail: refused.Rule}})
	}
	return hash, err
}
