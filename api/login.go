package api

import (
	"bytes"
	"crypto/sha256"
	_ "embed" // for login.html and login.css
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

// loginView is the data that the login page shows.
type loginView struct {
	Style   template.CSS
	Message string // why the login failed
	Email   string // as typed by the person
	Next    string // path to go to after the login
	Name    string // name of the person who is logged in; "" without a session
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

// logIn handles the submitted form. The page itself reports faults in the
// form's fields.
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

// safeNext returns the path to which a login redirects: raw if it is a path on
// this server, and /docs otherwise.
func safeNext(raw string) string {
	const otherwise = "/docs"
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || u.Opaque != "" {
		return otherwise
	}
	// Browsers may resolve these forms to another host, either as given or as
	// url.URL writes them.
	next := u.String()
	if !strings.HasPrefix(next, "/") || strings.Contains(next, "//") || strings.ContainsAny(raw+next, "\\\t\r\n") {
		return otherwise
	}
	return next
}
