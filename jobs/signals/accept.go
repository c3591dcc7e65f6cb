package signals

import (
	"bytes"
	"sync"
	"unicode/utf8"

	"github.com/leomutto/pilot-in-a-box/jobs/payload"
)

// documents are empty ones, for readers that do not keep them.
var documents = sync.Pool{New: func() any { return new(Document) }}

// Accept says what a payload of either shape is and everything that is wrong with its form, as payload.Check,
// payload.Inspect and, for signals, Decode do one after the other.
func Accept(raw []byte, lim payload.Limits) (payload.Meta, payload.Faults) {
	if seemsSignals(raw) && lim.Admit(documentShape().depth, len(raw)) {
		doc := documents.Get().(*Document) //nolint:forcetypeassert // the pool holds nothing else
		meta, _, ok := inspect(raw, doc)
		*doc = Document{}
		documents.Put(doc)
		if ok {
			return meta, nil
		}
	}
	return accept(raw, lim)
}

// accept is Accept of any payload.
func accept(raw []byte, lim payload.Limits) (payload.Meta, payload.Faults) {
	if faults := payload.Check(raw, lim); len(faults) > 0 {
		return payload.Meta{}, faults
	}
	meta, faults := payload.Inspect(raw)
	if meta.Signals() {
		if _, wrong := decode(raw); len(wrong) > 0 {
			faults = wrong // which names everything that Inspect names, too
		}
	}
	return meta, faults
}

// Inspect is payload.Inspect, which returns the document as well when raw is a signals payload that can be read at once.
// Without a document and faults it is for Decode to say what the payload holds. exact says that the document written as
// JSON is raw again, but for the order of its members and white space; it may say false where that is so, too.
func Inspect(raw []byte) (meta payload.Meta, doc *Document, exact bool, faults payload.Faults) {
	if seemsSignals(raw) {
		doc = new(Document)
		if meta, exact, ok := inspect(raw, doc); ok {
			return meta, doc, exact, nil
		}
	}
	meta, faults = payload.Inspect(raw)
	return meta, nil, false, faults
}

// seemsSignals reports whether it is worth a try to read raw as signals; most free-form payloads are not.
func seemsSignals(raw []byte) bool { return bytes.Contains(raw, []byte(`"`+Version+`"`)) }

// inspect reads a signals payload into an empty document and returns what payload.Inspect says of it. It says false when
// the payload is of the other shape or needs a closer look. exact is that of read.
func inspect(raw []byte, doc *Document) (meta payload.Meta, exact, ok bool) {
	if exact, ok = read(raw, doc); !ok {
		return payload.Meta{}, false, false
	}
	meta = payload.Meta{
		SchemaVersion: doc.SchemaVersion,
		CorrelationID: payload.CleanText(doc.CorrelationID),
		SiteID:        payload.CleanText(doc.Request.Assets.SiteID),
		ClusterID:     payload.CleanText(doc.Request.Assets.ClusterID),
	}
	for _, id := range [...]string{meta.CorrelationID, meta.SiteID, meta.ClusterID} {
		if len(id) > payload.MaxIdentifier && utf8.RuneCountInString(id) > payload.MaxIdentifier {
			return payload.Meta{}, false, false // normal form can be longer than what was sent
		}
	}
	return meta, exact, true
}
