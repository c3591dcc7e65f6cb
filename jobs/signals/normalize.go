package signals

import (
	"reflect"

	"github.com/leomutto/pilot-in-a-box/jobs/payload"
)

// Normalize returns the normal form of a document: strings are trimmed and in
// Unicode NFC, timestamps are in UTC with Z, and an absent mode is shadow.
// Numbers keep their spelling; Decode has already turned numeric and boolean
// strings into numbers and booleans. Normalize does not modify d; changed
// reports that the normal form differs from d.
func Normalize(d *Document) (normal *Document, changed bool) {
	n := *d
	if n.Request.Mode == "" {
		n.Request.Mode, changed = ModeShadow, true
	}
	changed = normalize(documentShape(), reflect.ValueOf(&n).Elem()) || changed
	return &n, changed
}

func normalize(s *shape, v reflect.Value) (changed bool) {
	for i := range s.fields {
		switch f, member := &s.fields[i], v.Field(i); f.kind {
		case kindObject:
			changed = normalize(f.object, member) || changed
		case kindText:
			changed = set(member, payload.CleanText(member.String())) || changed
		case kindTimestamp:
			changed = set(member, string(Time(member.String()).UTC())) || changed
		}
	}
	return changed
}

// set writes text if it differs, and reports whether it does. Most texts are in
// normal form already, and a write costs more than the comparison.
func set(member reflect.Value, text string) bool {
	if text == member.String() {
		return false
	}
	member.SetString(text)
	return true
}
