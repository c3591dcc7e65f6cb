package api

import (
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/leomutto/pilot-in-a-box/internal/auth"
)

const (
	tagUsers = "Users and tokens"

	describeLogin = "Tries are bounded, for each account and for each client address. The answer is the same, and takes as long, whether " +
		"there is such a user or not."
	describeRefresh = "A refresh token is good once: the answer has the next one. When one is shown a second time somebody has a copy, so all " +
		"that came of its login is revoked. A chain of refresh tokens ends when the first one would have."
	describeLogout = "Ends the login that the refresh token came of. Access tokens are good until they expire, some minutes later. " +
		"The answer is the same when there is nothing to end."
	describePassword = "At least 12 characters. Every token and session of the user ends."
	describeUser     = "A disabled user's tokens and sessions end, within seconds on every server. The last admin can be neither disabled " +
		"nor given another role."
	describeKey = "For machines. The key is shown once; only its digest is stored."
)

// The bodies of the operations on users and keys. Only their schemas are used.
type (
	// Credentials is the body of a login.
	Credentials struct {
		Email    string `json:"email" doc:"As it was registered" example:"ann@example.com"`
		Password string `json:"password" format:"password" doc:"The user's password" example:"correct horse battery"`
	}
	// RefreshToken is the body of a refresh, and of a logout.
	RefreshToken struct {
		RefreshToken string `json:"refresh_token" doc:"The latest one" example:"7UL3yqGNbQFh1V0bKc0pTnY2eUe0b9mZ4mJ2o8vX1aQ"`
	}
	// PasswordChange is the body of a change of one's own password.
	PasswordChange struct {
		CurrentPassword string `json:"current_password" format:"password" doc:"The password until now" example:"correct horse battery"`
		NewPassword     string `json:"new_password" format:"password" minLength:"12" doc:"The password from now on" example:"staple of another kind"`
	}
	// NewPassword is the body of a change of somebody else's password.
	NewPassword struct {
		Password string `json:"password" format:"password" minLength:"12" doc:"The password from now on" example:"staple of another kind"`
	}
	// NewUser is the body of a registration.
	NewUser struct {
		Email    string    `json:"email" format:"email" maxLength:"254" doc:"What they log in with" example:"ann@example.com"`
		Password string    `json:"password" format:"password" minLength:"12" doc:"At least 12 characters" example:"correct horse battery"`
		Role     auth.Role `json:"role,omitempty" enum:"viewer,operator,admin" default:"viewer" doc:"What they may do" example:"operator"`
	}
	// UserChange is the body of a change of a user.
	UserChange struct {
		Role     auth.Role `json:"role,omitempty" enum:"viewer,operator,admin" doc:"What they may do" example:"operator"`
		Disabled *bool     `json:"disabled,omitempty" nullable:"false" doc:"true shuts them out" example:"true"`
	}
	// KeyRequest is the body that makes an API key.
	KeyRequest struct {
		Name string    `json:"name" minLength:"1" maxLength:"100" doc:"What it is for" example:"collector oslo-1"`
		Role auth.Role `json:"role" enum:"viewer,operator,admin" doc:"What it may do" example:"operator"`
	}
)

// documentAuth describes the bodies that the operations on users and keys read themselves.
func documentAuth(doc *huma.OpenAPI) {
	const password, other = "correct horse battery", "staple of another kind"
	tokens := Tokens{
		AccessToken: "eyJhbGciOiJIUzI1NiIsImtpZCI6IjVkMGU…", TokenType: "Bearer", ExpiresIn: 600,
		RefreshToken: "7UL3yqGNbQFh1V0bKc0pTnY2eUe0b9mZ4mJ2o8vX1aQ", RefreshExpiresAt: "2026-03-08T11:00:00.000000Z",
	}
	user := User{ID: 12, Email: "ann@example.com", Role: auth.Operator, CreatedAt: "2026-03-01T11:00:00.000000Z"}
	key := Key{ID: 7, Name: "collector oslo-1", Role: auth.Operator, CreatedBy: "user:12", CreatedAt: "2026-03-01T11:00:00.000000Z"}
	disabled, since := true, "2026-03-02T11:00:00.000000Z"
	gone := user
	gone.Disabled, gone.DisabledAt = true, &since

	at := func(path string) *huma.PathItem { return doc.Paths[path] }
	takes := func(op *huma.Operation, body *huma.RequestBody) *huma.Operation {
		op.RequestBody = body
		return op
	}
	answers(takes(at(pathAuth+"login").Post, bodyOf[Credentials](doc, one("Log in", Credentials{user.Email, password}))), http.StatusOK, tokens)
	answers(takes(at(pathAuth+"refresh").Post, bodyOf[RefreshToken](doc, one("Refresh", RefreshToken{tokens.RefreshToken}))), http.StatusOK, tokens)
	takes(at(pathAuth+"logout").Post, bodyOf[RefreshToken](doc, one("Log out", RefreshToken{tokens.RefreshToken})))
	answers(at(pathAuth+"me").Get, http.StatusOK, Me{Subject: "user:12", Kind: auth.User, Name: user.Email, Role: user.Role})
	takes(at(pathAuth+"password").Post, bodyOf[PasswordChange](doc, one("Change", PasswordChange{password, other})))
	answers(takes(at(pathAuth+"register").Post, bodyOf[NewUser](doc, one("An operator", NewUser{user.Email, password, user.Role}))), http.StatusCreated, user)

	answers(at(pathUsers).Get, http.StatusOK, UserList{Items: []User{user}})
	answers(at(pathUsers+"/{id}").Get, http.StatusOK, user)
	answers(takes(at(pathUsers+"/{id}").Patch, bodyOf[UserChange](doc, one("Shut out", UserChange{Disabled: &disabled}))), http.StatusOK, gone)
	takes(at(pathUsers+"/{id}/password").Post, bodyOf[NewPassword](doc, one("Set", NewPassword{other})))

	answers(at(pathKeys).Get, http.StatusOK, KeyList{Items: []Key{key}})
	answers(takes(at(pathKeys).Post, bodyOf[KeyRequest](doc, one("For a collector", KeyRequest{key.Name, key.Role}))), http.StatusCreated,
		NewKey{Key: key, Secret: "mass_7_3kq6xn2p7vj5yw4t2mzc6dq3hr5ab7ufeo4s2lgi"})
}

func one(summary string, value any) map[string]*huma.Example {
	return map[string]*huma.Example{"one": {Summary: summary, Value: value}}
}
