package web

import (
	"errors"
	"mime"
	"net/http"
	"strconv"
	"strings"
)

// The media types that MASS reads and writes.
const (
	MediaJSON        = "application/json"
	MediaProblem     = "application/problem+json"
	MediaNDJSON      = "application/x-ndjson"
	MediaEventStream = "text/event-stream"
	MediaCSV         = "text/csv"
	MediaHTML        = "text/html"
)

// Negotiate returns the offer that the values of an Accept header prefer: the
// one with the highest quality value, among equals the one that the header
// names most exactly, and then the one that is offered first. A request without
// the header gets the first offer. ok is false when no offer is acceptable.
//
// A range whose quality value is not a number from 0 to 1 does not count.
func Negotiate(accept []string, offers ...string) (media string, ok bool) {
	given := strings.Join(accept, ",")
	if strings.TrimSpace(given) == "" {
		return offers[0], true
	}
	var best preference
	for _, offer := range offers {
		p := preferenceFor(offer, given)
		if p.quality > best.quality || p.quality == best.quality && p.quality > 0 && p.exactness > best.exactness {
			best, media, ok = p, offer, true
		}
	}
	return media, ok
}

// preference is how much a client wants a media type, by the range that names
// the type most exactly.
type preference struct {
	exactness int // 3: type/subtype, 2: type/*, 1: */*, 0: not named
	quality   float64
}

func preferenceFor(media, accept string) (p preference) {
	kind, _, _ := strings.Cut(media, "/")
	exactness := map[string]int{media: 3, kind + "/*": 2, "*/*": 1}
	for part := range strings.SplitSeq(accept, ",") {
		given, params, err := mime.ParseMediaType(part)
		if err != nil && !errors.Is(err, mime.ErrInvalidMediaParameter) {
			continue
		}
		quality := 1.0
		if q, has := params["q"]; has {
			if quality, err = strconv.ParseFloat(q, 64); err != nil || !(quality >= 0 && quality <= 1) {
				continue
			}
		}
		if e := exactness[given]; e > p.exactness {
			p = preference{exactness: e, quality: quality}
		}
	}
	return p
}

// NotAcceptable is the problem of a request whose Accept header allows none of
// the offers.
func NotAcceptable(offers ...string) *Problem {
	return &Problem{
		Status: http.StatusNotAcceptable, Code: CodeNotAcceptable, Detail: "This resource is available as " + alternatives(offers) + ".",
	}
}

// alternatives joins a list for use in a sentence: "a", "a or b", "a, b or c".
func alternatives(list []string) string {
	last := len(list) - 1
	if last == 0 {
		return list[0]
	}
	return strings.Join(list[:last], ", ") + " or " + list[last]
}
