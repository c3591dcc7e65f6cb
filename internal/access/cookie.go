package access

import (
	"net/http"
	"time"

	"github.com/leomutto/pilot-in-a-box/internal/web"
)

// The names of the cookie of a session. Browsers accept a name that begins with
// __Host- only over TLS, for the whole host and for no other host, so no other
// site can plant it.
const (
	SecureCookie = "__Host-mass"
	plainCookie  = "mass" // over plain HTTP, where that is allowed
)

// SessionCookie returns the value of a browser's session cookie; "" when the
// request has none.
func (g *Guard) SessionCookie(r *http.Request) string {
	c, err := r.Cookie(g.cookieName(r))
	if err != nil {
		return ""
	}
	return c.Value
}

// SetSessionCookie makes a browser keep a session's cookie. Scripts cannot read
// it, and pages of other sites cannot make a browser send it.
func (g *Guard) SetSessionCookie(w http.ResponseWriter, r *http.Request, value string, expires time.Time) {
	name := g.cookieName(r)
	http.SetCookie(w, &http.Cookie{
		Name: name, Value: value, Path: "/", Expires: expires,
		HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: name == SecureCookie,
	})
}

// ClearSessionCookie makes a browser forget its session's cookie.
func (g *Guard) ClearSessionCookie(w http.ResponseWriter, r *http.Request) {
	g.SetSessionCookie(w, r, "", time.Unix(1, 0))
}

// cookieName returns the name of the cookie for a request. The cookie without
// the attribute Secure is for people on this machine, and for development.
func (g *Guard) cookieName(r *http.Request) string {
	plain := g.cfg.PlainSessions || web.IsLoopback(r.Host)
	if plain && !web.ExchangeOf(r.Context()).OverTLS {
		return plainCookie
	}
	return SecureCookie
}
