package api

import (
	"bytes"
	"crypto/rand"
	"io"
	"net/http"
	"regexp"
	"strings"
)

// shell is a page that others wrote, under a Content-Security-Policy that lets
// its own scripts and styles run and nothing else: they carry a nonce that is
// another one in each answer.
type shell struct{ parts []string } // the nonce goes between them

var (
	outsideLink = regexp.MustCompile(`<link[^>]*\shref="(?:https?:)?//[^>]*>`)
	appManifest = regexp.MustCompile(`<link[^>]*\srel="manifest"[^>]*>`)
	needsNonce  = regexp.MustCompile(`<(?:script|style|link\s+rel="stylesheet")`)
)

// newShell takes a page without the links that lead to other hosts, which would
// tell them who looks at it: they are fonts, and browsers have some. A manifest,
// for installing the page as an app, goes too: browsers ask for it without a
// session.
func newShell(page []byte) shell {
	const cut = "\x00" // is in no HTML
	text := outsideLink.ReplaceAllString(string(page), "")
	text = appManifest.ReplaceAllString(text, "")
	// Material-UI's styles are made by a script, which takes the nonce from here.
	text = strings.Replace(text, "<head>", `<head><meta property="csp-nonce" content="`+cut+`">`, 1)
	text = needsNonce.ReplaceAllString(text, `$0 nonce="`+cut+`"`)
	return shell{strings.Split(text, cut)}
}

func (s shell) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	nonce := rand.Text()
	w.Header().Set("Content-Security-Policy", "default-src 'none'; script-src 'nonce-"+nonce+"'; style-src 'nonce-"+nonce+"'; "+
		"img-src 'self' data:; font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = io.WriteString(w, strings.Join(s.parts, nonce)) // fails only when the client is gone
}

// capture keeps what a handler answers.
type capture struct {
	header http.Header
	status int
	body   bytes.Buffer
}

// captured returns what h answers to r.
func captured(h http.Handler, r *http.Request) *capture {
	c := &capture{header: http.Header{}, status: http.StatusOK}
	h.ServeHTTP(c, r)
	return c
}

// Header implements http.ResponseWriter.
func (c *capture) Header() http.Header { return c.header }

// WriteHeader implements http.ResponseWriter.
func (c *capture) WriteHeader(status int) { c.status = status }

// Write implements http.ResponseWriter.
func (c *capture) Write(b []byte) (int, error) { return c.body.Write(b) }
