package api

import (
	"bytes"
	"crypto/sha256"
	_ "embed" // the page
	"encoding/base64"
	"errors"
	"html/template"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/leomutto/pilot-in-a-box/internal/auth"
)

const (
	pathLogin  = "/login"
	pathLogout = "/logout"
	maxForm    = 8 << 10 // bytes

	// The cookie of a session. Browsers take the first name only over TLS, for the
	// whole host and for no other one, so that nobody else can plant it.
	cookieName  = "__Host-mass"
	plainCookie = "mass" // over plain HTTP, where that is allowed
)

//go:embed html/login.html
var loginHTML string

//go:embed html/login.css
var loginCSS string

// loginView is what the page shows.
type loginView struct {
	Style   template.CSS
	Message string // what went wrong
	Email   string // as it was typed
	Next    string // where to go afterwards
	Name    string // who is logged in; "" for nobody
	Role    auth.Role
}

// loginForm is the page for people to log in, and out.
type loginForm struct {
	server *Server
	page   *template.Template
	policy string
}

func (s *Server) loginPage() http.Handler {
	sum := sha256.Sum256([]byte(loginCSS))
	return &loginForm{
		server: s,
		page:   template.Must(template.New("login").Parse(loginHTML)),
		policy: "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
			"'; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
	}
}

func (f *loginForm) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	if r.Method == http.MethodPost {
		f.logIn(w, r)
		return
	}
	view := loginView{Next: safeNext(r.URL.Query().Get("next"))}
	if who, ok, err := f.server.identify(r); err == nil && ok {
		view.Name, view.Role = who.Name, who.Role
	}
	f.show(w, r, http.StatusOK, view)
}

// logIn takes what a person typed. What is wrong with it is said on the page.
func (f *loginForm) logIn(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		writeProblem(w, r, formProblem(err))
		return
	}
	view := loginView{Email: r.PostForm.Get("email"), Next: safeNext(r.PostForm.Get("next"))}
	password := r.PostForm.Get("password")
	if view.Email == "" || password == "" {
		view.Message = "Both the e-mail address and the password are needed."
		f.show(w, r, http.StatusUnprocessableEntity, view)
		return
	}
	value, expires, err := f.server.openSession(r.Context(), view.Email, password)
	if err != nil {
		p := problemOf(err).finish(r.Context())
		if after := p.GetHeaders().Get("Retry-After"); after != "" {
			w.Header().Set("Retry-After", after)
		}
		view.Message = p.Detail
		f.show(w, r, p.Status, view)
		return
	}
	http.SetCookie(w, f.server.sessionCookie(r, value, expires))
	http.Redirect(w, r, view.Next, http.StatusSeeOther)
}

func (f *loginForm) show(w http.ResponseWriter, r *http.Request, status int, view loginView) {
	view.Style = template.CSS(loginCSS) //nolint:gosec // it is ours
	var page bytes.Buffer
	if err := f.page.Execute(&page, view); err != nil {
		writeProblem(w, r, problemOf(err))
		return
	}
	w.Header().Set("Content-Security-Policy", f.policy)
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(page.Bytes()) // fails only when the client is gone
}

// logOut ends the session, and makes the browser forget it.
func (s *Server) logOut(w http.ResponseWriter, r *http.Request) {
	if value := s.sessionOf(r); value != "" {
		if err := s.closeSession(r.Context(), value); err != nil {
			writeProblem(w, r, problemOf(err))
			return
		}
	}
	http.SetCookie(w, s.sessionCookie(r, "", time.Unix(1, 0)))
	http.Redirect(w, r, pathLogin, http.StatusSeeOther)
}

func formProblem(err error) *Problem {
	var (
		tooLarge *http.MaxBytesError
		network  net.Error
	)
	switch {
	case errors.As(err, &tooLarge):
		return problemOf(err)
	case errors.As(err, &network) && network.Timeout():
		return &Problem{Status: http.StatusRequestTimeout, Code: codeTimeout, Detail: "The body did not arrive in time."}
	}
	return &Problem{Status: http.StatusBadRequest, Code: codeValidation, Detail: "The form is not well-formed.", cause: err}
}

// sessionCookie is the cookie of a session; no script sees it, and no other site
// makes a browser send it.
func (s *Server) sessionCookie(r *http.Request, value string, expires time.Time) *http.Cookie {
	name := s.sessionName(r)
	return &http.Cookie{
		Name: name, Value: value, Path: "/", Expires: expires,
		HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: name == cookieName,
	}
}

// sessionOf returns the value of a browser's session cookie; "" when it shows none.
func (s *Server) sessionOf(r *http.Request) string {
	c, err := r.Cookie(s.sessionName(r))
	if err != nil {
		return ""
	}
	return c.Value
}

// sessionName is the cookie's name. One without Secure is for a person at this
// very machine, and for development.
func (s *Server) sessionName(r *http.Request) string {
	plain := s.cfg.PlainSessions || isLoopback(s.cfg.Addr) || isLoopback(r.Host)
	if plain && !exchangeOf(r.Context()).overTLS {
		return plainCookie
	}
	return cookieName
}

// safeNext returns where a login may lead: a path of this server, else the docs.
func safeNext(raw string) string {
	const otherwise = "/docs"
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || u.Opaque != "" {
		return otherwise
	}
	// What a browser may take for another host, as it was given and as it is written again.
	next := u.String()
	if !strings.HasPrefix(next, "/") || strings.Contains(next, "//") || strings.ContainsAny(raw+next, "\\\t\r\n") {
		return otherwise
	}
	return next
}
