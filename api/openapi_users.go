package api

import (
	"net/http"
	"reflect"

	"github.com/leomutto/pilot-in-a-box/internal/auth"
)

const (
	describeLogin = "Attempts are limited for each account and for each client address. The response, and the time it takes, are the same whether " +
		"the user exists or not."
	describeRefresh = "A refresh token can be used once: the response has the next one. A token that is used twice must have been copied, so its second use " +
		"revokes everything that was issued since its login. A chain of refresh tokens ends when the first one would have expired."
	describeLogout = "Ends the login that the refresh token belongs to. Access tokens stay valid until they expire, some minutes later. " +
		"The response is the same when there is nothing to end."
	describePassword    = "The new password must have at least 12 characters. Every token and session of the user ends."
	describeSetPassword = describePassword + " The user's API keys go on; the audit trail lists them. Nobody can set their own password here: " +
		"POST /auth/password does, and asks for the current one."
	describeUser = "The tokens, sessions and API keys of a disabled user end, within seconds on every server; the answer lists the keys. " +
		"They stay ended when the user is enabled again: another admin, or the same user, can take a key over. A key never acts with more than " +
		"its owner's present role. The last admin can neither be disabled nor be given another role."
	describeKey = "An API key is for machines. It is shown once; only its digest is stored. It acts on behalf of its owner, the caller who creates it: " +
		"only while the owner may act, and never with more than the owner's present role. A key that a key creates ends with that key."
	describeRevokeKey = "The API keys that this key created, directly or through others, end with it: the audit trail lists them, and a user can take them over."
	describeAdoptKey  = "The calling user becomes the owner of the key, on whose behalf it acts from now on. A key whose owner was disabled or revoked " +
		"acts again. A key that is revoked or expired cannot be taken over, and an API key cannot take over another one."
)

// The types below are the bodies of the operations on users and keys. Only
// their schemas are used.
type (
	// Credentials is the body of a login.
	Credentials struct {
		Email    string `json:"email" doc:"E-mail address with which the user logs in" example:"ann@example.com"`
		Password string `json:"password" format:"password" doc:"The user's password" example:"correct horse battery"`
	}
	// RefreshToken is the body of a refresh and of a logout.
	RefreshToken struct {
		RefreshToken string `json:"refresh_token" doc:"The latest refresh token of the login" example:"7UL3yqGNbQFh1V0bKc0pTnY2eUe0b9mZ4mJ2o8vX1aQ"`
	}
	// PasswordChange is the body with which users change their own password.
	PasswordChange struct {
		CurrentPassword string `json:"current_password" format:"password" doc:"The current password" example:"correct horse battery"`
		NewPassword     string `json:"new_password" format:"password" minLength:"12" doc:"The new password" example:"staple of another kind"`
	}
	// NewPassword is the body with which an admin sets a user's password.
	NewPassword struct {
		Password string `json:"password" format:"password" minLength:"12" doc:"The new password" example:"staple of another kind"`
	}
	// NewUser is the body of a registration.
	NewUser struct {
		Email    string    `json:"email" format:"email" maxLength:"254" doc:"E-mail address with which the user logs in" example:"ann@example.com"`
		Password string    `json:"password" format:"password" minLength:"12" doc:"At least 12 characters" example:"correct horse battery"`
		Role     auth.Role `json:"role,omitempty" enum:"viewer,operator,admin" default:"viewer" doc:"What the user may do" example:"operator"`
	}
	// UserChange is the body with which an admin changes a user.
	UserChange struct {
		Role     auth.Role `json:"role,omitempty" enum:"viewer,operator,admin" doc:"What the user may do" example:"operator"`
		Disabled *bool     `json:"disabled,omitempty" nullable:"false" doc:"true disables the user" example:"true"`
	}
	// KeyRequest is the body that creates an API key.
	KeyRequest struct {
		Name      string    `json:"name" minLength:"1" maxLength:"100" doc:"What the key is for" example:"collector oslo-1"`
		Role      auth.Role `json:"role" enum:"viewer,operator,admin" doc:"The most that the key may do" example:"operator"`
		ExpiresAt string    `json:"expires_at,omitempty" format:"date-time" doc:"When the key ends; absent: never, or after MASS_KEY_MAX_AGE if that is set" example:"2099-03-01T11:00:00Z"`
	}
)

// These passwords appear in the examples.
const (
	examplePassword    = "correct horse battery"
	exampleNewPassword = "staple of another kind"
)

func exampleTokens() Tokens {
	return Tokens{
		AccessToken: "eyJhbGciOiJIUzI1NiIsImtpZCI6IjVkMGU…", TokenType: "Bearer", ExpiresIn: 600,
		RefreshToken: "7UL3yqGNbQFh1V0bKc0pTnY2eUe0b9mZ4mJ2o8vX1aQ", RefreshExpiresAt: "2026-03-08T11:00:00.000000Z",
	}
}

func exampleUser() User {
	return User{ID: 12, Email: "ann@example.com", Role: auth.Operator, CreatedAt: "2026-03-01T11:00:00.000000Z"}
}

func exampleKey() Key {
	owner, role := "user:12", auth.Operator
	return Key{
		ID: 7, Name: "collector oslo-1", Role: auth.Operator, CreatedBy: owner, Owner: &owner, Active: true, EffectiveRole: &role,
		CreatedAt: "2026-03-01T11:00:00.000000Z",
	}
}

func documentLogIn(op documentedOp) {
	op.reads(reflect.TypeFor[Credentials](), oneExample("Log in", Credentials{exampleUser().Email, examplePassword}))
	op.answers(http.StatusOK, exampleTokens())
}

func documentRefresh(op documentedOp) {
	op.reads(reflect.TypeFor[RefreshToken](), oneExample("Refresh", RefreshToken{exampleTokens().RefreshToken}))
	op.answers(http.StatusOK, exampleTokens())
}

func documentLogOut(op documentedOp) {
	op.reads(reflect.TypeFor[RefreshToken](), oneExample("Log out", RefreshToken{exampleTokens().RefreshToken}))
}

func documentMe(op documentedOp) {
	user := exampleUser()
	op.answers(http.StatusOK, Me{Subject: "user:12", Kind: auth.User, Name: user.Email, Role: user.Role})
}

func documentChangePassword(op documentedOp) {
	op.reads(reflect.TypeFor[PasswordChange](), oneExample("Change", PasswordChange{examplePassword, exampleNewPassword}))
}

func documentRegister(op documentedOp) {
	user := exampleUser()
	op.reads(reflect.TypeFor[NewUser](), oneExample("An operator", NewUser{user.Email, examplePassword, user.Role}))
	op.answers(http.StatusCreated, user)
}

func documentListUsers(op documentedOp) {
	op.answers(http.StatusOK, UserList{Items: []User{exampleUser()}})
}

func documentGetUser(op documentedOp) { op.answers(http.StatusOK, exampleUser()) }

func documentChangeUser(op documentedOp) {
	disabled, since := true, "2026-03-02T11:00:00.000000Z"
	user := exampleUser()
	user.Disabled, user.DisabledAt = true, &since
	op.reads(reflect.TypeFor[UserChange](), oneExample("Disable", UserChange{Disabled: &disabled}))
	op.answers(http.StatusOK, ChangedUser{User: user, EndedKeys: []KeyRef{{ID: exampleKey().ID, Name: exampleKey().Name}}, LimitedKeys: []KeyRef{}})
}

func documentSetPassword(op documentedOp) {
	op.reads(reflect.TypeFor[NewPassword](), oneExample("Set", NewPassword{exampleNewPassword}))
}

func documentListKeys(op documentedOp) {
	op.answers(http.StatusOK, KeyList{Items: []Key{exampleKey()}})
}

func documentAddKey(op documentedOp) {
	key := exampleKey()
	op.reads(reflect.TypeFor[KeyRequest](), oneExample("For a collector", KeyRequest{Name: key.Name, Role: key.Role}))
	op.answers(http.StatusCreated, NewKey{Key: key, Secret: "mass_7_3kq6xn2p7vj5yw4t2mzc6dq3hr5ab7ufeo4s2lgi"})
}

func documentAdoptKey(op documentedOp) {
	op.answers(http.StatusOK, AdoptedKey{Key: exampleKey(), Dependents: []KeyRef{}})
}
