package web

import (
	"bytes"
	"crypto/rand"
	"io"
	"maps"
	"net/http"
	"regexp"
	"strings"
)

// NoncePage is an HTML page of another project, under a Content-Security-Policy
// that allows only the page's own scripts and styles: they carry a nonce, which
// is different in each answer.
type NoncePage struct{ parts []string } // the nonce goes between them

var (
	outsideLink = regexp.MustCompile(`<link[^>]*\shref="(?:https?:)?//[^>]*>`)
	appManifest = regexp.MustCompile(`<link[^>]*\srel="manifest"[^>]*>`)
	needsNonce  = regexp.MustCompile(`<(?:script|style|link\s+rel="stylesheet")`)
)

// NewNoncePage takes a page and removes its links to other hosts, which only
// load fonts and would tell those hosts who opens the page. It also removes the
// manifest that allows installing the page as an app, because browsers request
// the manifest without the session's cookie.
func NewNoncePage(page []byte) NoncePage {
	const cut = "\x00" // never part of HTML
	text := outsideLink.ReplaceAllString(string(page), "")
	text = appManifest.ReplaceAllString(text, "")
	// The script that makes Material-UI's styles takes the nonce from this
	// element.
	text = strings.Replace(text, "<head>", `<head><meta property="csp-nonce" content="`+cut+`">`, 1)
	text = needsNonce.ReplaceAllString(text, `$0 nonce="`+cut+`"`)
	return NoncePage{strings.Split(text, cut)}
}

// ServeHTTP implements http.Handler.
func (s NoncePage) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	nonce := rand.Text()
	w.Header().Set("Content-Security-Policy", "default-src 'none'; script-src 'nonce-"+nonce+"'; style-src 'nonce-"+nonce+"'; "+
		"img-src 'self' data:; font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = io.WriteString(w, strings.Join(s.parts, nonce)) // fails only when the client is gone
}

// Answer is the answer of a handler, kept in memory.
type Answer struct {
	Status int
	header http.Header
	body   bytes.Buffer
}

// AnswerOf returns what h answers to r.
func AnswerOf(h http.Handler, r *http.Request) *Answer {
	a := &Answer{Status: http.StatusOK, header: http.Header{}}
	h.ServeHTTP(a, r)
	return a
}

// Body returns the bytes of the answer.
func (a *Answer) Body() []byte { return a.body.Bytes() }

// Send writes the answer, with the given Cache-Control.
func (a *Answer) Send(w http.ResponseWriter, cacheControl string) {
	maps.Copy(w.Header(), a.header)
	w.Header().Set("Cache-Control", cacheControl)
	w.WriteHeader(a.Status)
	_, _ = w.Write(a.body.Bytes()) // fails only when the client is gone
}

// Header implements http.ResponseWriter.
func (a *Answer) Header() http.Header { return a.header }

// WriteHeader implements http.ResponseWriter.
func (a *Answer) WriteHeader(status int) { a.Status = status }

// Write implements http.ResponseWriter.
func (a *Answer) Write(b []byte) (int, error) { return a.body.Write(b) }
