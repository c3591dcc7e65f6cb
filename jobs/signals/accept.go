package signals

import (
	"bytes"
	"sync"
	"unicode/utf8"

	"github.com/leomutto/pilot-in-a-box/jobs/payload"
)

// documentPool holds empty documents, for readers that do not keep them.
var documentPool = sync.Pool{New: func() any { return new(Document) }}

// Accept returns the metadata of a payload of either shape and everything that
// is wrong with its form. The result is that of payload.Check, payload.Inspect
// and, for signals, Decode, called one after the other.
func Accept(raw []byte, lim payload.Limits) (payload.Meta, payload.Faults) {
	if seemsSignals(raw) && lim.Admit(documentShape().depth, len(raw)) {
		doc := documentPool.Get().(*Document) //nolint:forcetypeassert // the pool holds nothing else
		meta, _, ok := inspect(raw, doc)
		*doc = Document{}
		documentPool.Put(doc)
		if ok {
			return meta, nil
		}
	}
	return accept(raw, lim)
}

// accept is Accept for payloads that are not read at once.
func accept(raw []byte, lim payload.Limits) (payload.Meta, payload.Faults) {
	if faults := payload.Check(raw, lim); len(faults) > 0 {
		return payload.Meta{}, faults
	}
	meta, faults := payload.Inspect(raw)
	if meta.Signals() {
		if _, wrong := decode(raw); len(wrong) > 0 {
			faults = wrong // these include the faults of Inspect
		}
	}
	return meta, faults
}

// Inspect is payload.Inspect, and also returns the document if raw is a signals
// payload that read can read. If it returns neither a document nor faults,
// Decode must read the payload. exact reports that the document, written as
// JSON, equals raw except for the order of members and white space; it may be
// false even then.
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

// seemsSignals reports whether raw may be of the signals shape. It is false for
// most free-form payloads.
func seemsSignals(raw []byte) bool { return bytes.Contains(raw, []byte(`"`+Version+`"`)) }

// inspect reads a signals payload into an empty document and returns the
// metadata of payload.Inspect. ok is false if the payload has the other shape
// or read cannot read it. exact is that of read.
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
			return payload.Meta{}, false, false // the normal form can be longer than the original
		}
	}
	return meta, exact, true
}
