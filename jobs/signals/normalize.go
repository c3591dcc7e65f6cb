package signals

import (
	"reflect"

	"github.com/leomutto/pilot-in-a-box/jobs/payload"
)

// Normalize returns the normal form of a document: strings trimmed and in Unicode NFC, timestamps in UTC with Z, an
// absent mode as shadow. Numbers stay as they were written; that numeric and boolean strings are numbers and booleans
// is Decode's doing. The document given is not changed.
func Normalize(d *Document) *Document {
	n := *d
	if n.Request.Mode == "" {
		n.Request.Mode = ModeShadow
	}
	normalize(documentShape(), reflect.ValueOf(&n).Elem())
	return &n
}

func normalize(s *shape, v reflect.Value) {
	for i := range s.fields {
		switch f, member := &s.fields[i], v.Field(i); f.kind {
		case object:
			normalize(f.object, member)
		case text:
			set(member, payload.CleanText(member.String()))
		case timestamp:
			set(member, string(Time(member.String()).UTC()))
		}
	}
}

// set writes only what is another text: most are in normal form already, and a write costs more than the comparison.
func set(member reflect.Value, text string) {
	if text != member.String() {
		member.SetString(text)
	}
}
