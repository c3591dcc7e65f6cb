package api

import (
	"bytes"
	"crypto/sha256"
	_ "embed" // the page
	"encoding/base64"
	"html/template"
	"net/http"
	"net/url"
	"strings"

	"github.com/leomutto/pilot-in-a-box/internal/access"
	"github.com/leomutto/pilot-in-a-box/internal/auth"
	"github.com/leomutto/pilot-in-a-box/internal/web"
	"github.com/leomutto/pilot-in-a-box/store"
)

const (
	pathLogin  = access.LoginPath
	pathLogout = "/logout"
	maxForm    = 8 << 10 // bytes
)

//go:embed html/login.html
var loginHTML string

//go:embed html/login.css
var loginCSS string

// loginView is what the page shows.
type loginView struct {
	Style   template.CSS
	Message string // what went wrong
	Email   string // as the person typed it
	Next    string // where to go afterwards
	Name    string // of the person who is logged in; "" when nobody is
	Role    auth.Role
}

// loginPage is the page on which people log in and out.
type loginPage struct {
	guard  *access.Guard
	page   *template.Template
	policy string
}

func newLoginPage(guard *access.Guard) *loginPage {
	sum := sha256.Sum256([]byte(loginCSS))
	return &loginPage{
		guard: guard,
		page:  template.Must(template.New("login").Parse(loginHTML)),
		policy: "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
			"'; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
	}
}

// ServeHTTP implements http.Handler.
func (f *loginPage) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	if r.Method == http.MethodPost {
		f.logIn(w, r)
		return
	}
	view := loginView{Next: safeNext(r.URL.Query().Get("next"))}
	if caller, ok, err := f.guard.Identify(r); err == nil && ok {
		view.Name, view.Role = caller.Name, caller.Role
	}
	f.show(w, r, http.StatusOK, view)
}

// logIn takes the form. What is wrong with its fields is said on the page.
func (f *loginPage) logIn(w http.ResponseWriter, r *http.Request) {
	form, err := web.ReadForm(w, r, maxForm)
	if err != nil {
		web.WriteProblem(w, r, problemOf(err))
		return
	}
	view := loginView{Email: form.Get("email"), Next: safeNext(form.Get("next"))}
	password := form.Get("password")
	if view.Email == "" || password == "" {
		view.Message = "Enter both the e-mail address and the password."
		f.show(w, r, http.StatusUnprocessableEntity, view)
		return
	}
	l, err := f.guard.LogIn(r.Context(), view.Email, password, store.BrowserSession)
	if err != nil {
		p := problemOf(err).Complete(r.Context())
		if after := p.GetHeaders().Get("Retry-After"); after != "" {
			w.Header().Set("Retry-After", after)
		}
		view.Message = p.Detail
		f.show(w, r, p.Status, view)
		return
	}
	f.guard.SetSessionCookie(w, r, l.Token, l.Expires)
	http.Redirect(w, r, view.Next, http.StatusSeeOther)
}

func (f *loginPage) show(w http.ResponseWriter, r *http.Request, status int, view loginView) {
	view.Style = template.CSS(loginCSS) //nolint:gosec // a file of this package
	var page bytes.Buffer
	if err := f.page.Execute(&page, view); err != nil {
		web.WriteProblem(w, r, problemOf(err))
		return
	}
	w.Header().Set("Content-Security-Policy", f.policy)
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(page.Bytes()) // fails only when the client is gone
}

// endBrowserSession logs a person out and makes the browser forget its cookie.
func (s *Server) endBrowserSession(w http.ResponseWriter, r *http.Request) {
	if value := s.guard.SessionCookie(r); value != "" {
		if err := s.guard.LogOut(r.Context(), store.BrowserSession, value); err != nil {
			web.WriteProblem(w, r, problemOf(err))
			return
		}
	}
	s.guard.ClearSessionCookie(w, r)
	http.Redirect(w, r, pathLogin, http.StatusSeeOther)
}

// safeNext returns the page that a login leads to: a path of this server, and
// /docs for anything else.
func safeNext(raw string) string {
	const otherwise = "/docs"
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || u.Opaque != "" {
		return otherwise
	}
	// Browsers take some of these for another host, in the given form or as URL writes it.
	next := u.String()
	if !strings.HasPrefix(next, "/") || strings.Contains(next, "//") || strings.ContainsAny(raw+next, "\\\t\r\n") {
		return otherwise
	}
	return next
}
