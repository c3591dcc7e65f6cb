package web

import (
	"bytes"
	"errors"
	"mime"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// ReadJSON returns the body of a request, which must declare itself as JSON and
// have at most limit bytes.
func ReadJSON(r *http.Request, limit int64) ([]byte, error) {
	if _, err := BodyMedia(r.Header, MediaJSON); err != nil {
		return nil, err
	}
	length := r.ContentLength
	if length > limit {
		return nil, TooLarge(limit)
	}
	var buf bytes.Buffer
	buf.Grow(int(max(length, 0)) + bytes.MinRead) // ReadFrom asks for that much room to see the end
	if _, err := buf.ReadFrom(http.MaxBytesReader(nil, r.Body, limit)); err != nil {
		return nil, BodyError(err)
	}
	return buf.Bytes(), nil
}

// ReadForm returns the fields of an HTML form of at most limit bytes.
func ReadForm(w http.ResponseWriter, r *http.Request, limit int64) (url.Values, error) {
	r.Body = http.MaxBytesReader(w, r.Body, limit)
	if err := r.ParseForm(); err != nil {
		if p := arrivalProblem(err); p != nil {
			return nil, p
		}
		return nil, &Problem{Status: http.StatusBadRequest, Code: CodeValidation, Detail: "The form is not well-formed.", Cause: err}
	}
	return r.PostForm, nil
}

// BodyError is the problem of a body that could not be read to its end.
func BodyError(err error) *Problem {
	if p := arrivalProblem(err); p != nil {
		return p
	}
	return &Problem{Status: http.StatusBadRequest, Code: CodeInvalidJSON, Detail: "The body ended early.", Cause: err}
}

// arrivalProblem is the problem of a body that is too large or too late; nil
// when err says neither.
func arrivalProblem(err error) *Problem {
	var (
		tooLarge *http.MaxBytesError
		network  net.Error
	)
	switch {
	case errors.As(err, &tooLarge):
		p := TooLarge(tooLarge.Limit)
		p.Cause = err
		return p
	case errors.As(err, &network) && network.Timeout():
		return BodyTimeout()
	}
	return nil
}

// BodyTimeout is the problem of a body that did not arrive in time.
func BodyTimeout() *Problem {
	return &Problem{Status: http.StatusRequestTimeout, Code: CodeTimeout, Detail: "The body did not arrive in time."}
}

// BodyMedia returns which of the accepted media types a body has, by its
// headers. A type that ends in +json counts as MediaJSON, and the other names
// of NDJSON as MediaNDJSON.
func BodyMedia(h http.Header, accepted ...string) (media string, err error) {
	if coding := h.Get("Content-Encoding"); coding != "" && !strings.EqualFold(coding, "identity") {
		return "", unsupportedMedia("The body must be sent without a Content-Encoding.")
	}
	given := h.Get("Content-Type")
	if given == accepted[0] { // spares most requests the parser
		return given, nil
	}
	media, params, err := mime.ParseMediaType(given)
	if media = canonicalMedia(media); err != nil || !slices.Contains(accepted, media) {
		return "", UnsupportedMedia(accepted...)
	}
	if charset := params["charset"]; charset != "" && !strings.EqualFold(charset, "utf-8") {
		return "", unsupportedMedia("JSON must be sent as UTF-8; no other charset is supported.")
	}
	return media, nil
}

func canonicalMedia(media string) string {
	switch {
	case strings.HasSuffix(media, "+json"):
		return MediaJSON
	case media == "application/ndjson", media == "application/jsonl":
		return MediaNDJSON
	}
	return media
}

// UnsupportedMedia is the problem of a body that has none of the accepted media
// types.
func UnsupportedMedia(accepted ...string) *Problem {
	return unsupportedMedia("The Content-Type must be " + alternatives(accepted) + ".")
}

func unsupportedMedia(detail string) *Problem {
	return &Problem{Status: http.StatusUnsupportedMediaType, Code: CodeMediaType, Detail: detail}
}
