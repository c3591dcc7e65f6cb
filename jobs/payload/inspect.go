package payload

import (
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
	"golang.org/x/text/unicode/norm"
)

// The accepted values of the top-level field "schema_version".
const (
	VersionFreeForm = "1.0-simple" // also when the field is absent
	VersionSignals  = "1.1"
)

// MaxIdentifier is the length of the longest identifier that is stored in a
// column of its own, in characters (Unicode code points).
const MaxIdentifier = 200

// Meta is stored in columns next to the payload, so that requests can be listed
// and filtered without reading payloads. Identifiers are trimmed and in Unicode
// NFC; absent ones are empty.
type Meta struct {
	// SchemaVersion is VersionFreeForm or VersionSignals, even if the payload
	// does not have it.
	SchemaVersion string
	CorrelationID string
	SiteID        string
	ClusterID     string
}

// Signals reports whether the payload has the signals shape. Otherwise it has
// free form.
func (m Meta) Signals() bool { return m.SchemaVersion == VersionSignals }

// Inspect determines the shape of a payload and reads its identifiers. Its
// faults concern schema_version and, in the signals shape, identifiers of more
// than MaxIdentifier characters. In free form, longer identifiers and those
// that are not strings count as absent. raw must have passed Check, because
// Inspect looks at no more than the syntax of the remaining JSON.
func Inspect(raw []byte) (Meta, Faults) {
	var faults Faults
	var version, request jsontext.Value
	var correlation, site, cluster jsontext.Value

	err := eachMember(raw, func(name []byte, value jsontext.Value) {
		switch string(name) {
		case "schema_version":
			version = value
		case "correlation_id":
			correlation = value
		case "request":
			request = value
		case "site_id":
			site = value
		case "cluster_id":
			cluster = value
		}
	})
	if err != nil {
		faults.AddSyntax(err)
		return Meta{}, faults
	}

	meta := Meta{SchemaVersion: VersionFreeForm}
	if version != nil {
		switch text, ok := stringOf(version); {
		case ok && (text == VersionFreeForm || text == VersionSignals):
			meta.SchemaVersion = text
		case ok:
			faults.Add("/schema_version", "must be %q, %q or absent, got %s", VersionSignals, VersionFreeForm, Quote(text))
			return Meta{}, faults
		default:
			faults.Add("/schema_version", "must be the string %q or %q, or absent, got %s",
				VersionSignals, VersionFreeForm, KindName(version.Kind()))
			return Meta{}, faults
		}
	}

	sitePointer, clusterPointer := jsontext.Pointer("/site_id"), jsontext.Pointer("/cluster_id")
	if meta.Signals() {
		sitePointer, clusterPointer = "/request/assets/site_id", "/request/assets/cluster_id"
		site, cluster = assetsOf(request)
	}
	identifier := func(pointer jsontext.Pointer, value jsontext.Value) string {
		text, ok := stringOf(value)
		text = CleanText(text)
		if !ok || utf8.RuneCountInString(text) > MaxIdentifier {
			if ok && meta.Signals() {
				faults.Add(pointer, "must have at most %d characters", MaxIdentifier)
			}
			return ""
		}
		return text
	}
	meta.CorrelationID = identifier("/correlation_id", correlation)
	meta.SiteID = identifier(sitePointer, site)
	meta.ClusterID = identifier(clusterPointer, cluster)
	return meta, faults
}

// CleanText returns the normal form of a string: without surrounding Unicode
// space, and in Unicode NFC.
func CleanText(text string) string { return strings.TrimSpace(norm.NFC.String(text)) }

// assetsOf returns site_id and cluster_id of the request's assets. A value that
// is missing or has an unexpected parent is nil; Decode of package signals
// reports it.
func assetsOf(request jsontext.Value) (site, cluster jsontext.Value) {
	var assets jsontext.Value
	_ = eachMember(request, func(name []byte, value jsontext.Value) {
		if string(name) == "assets" {
			assets = value
		}
	})
	_ = eachMember(assets, func(name []byte, value jsontext.Value) {
		switch string(name) {
		case "site_id":
			site = value
		case "cluster_id":
			cluster = value
		}
	})
	return site, cluster
}

// eachMember calls visit for the members of the JSON object raw, without
// reading their values. Any other kind of value has no members. The values
// share raw's memory; a name is valid only during its visit.
func eachMember(raw []byte, visit func(name []byte, value jsontext.Value)) error {
	if len(raw) == 0 {
		return nil
	}
	dec := Decoder(raw, jsontext.AllowDuplicateNames(true))
	defer Release(dec)
	if dec.PeekKind() != jsontext.KindBeginObject {
		return dec.SkipValue()
	}
	if _, err := dec.ReadToken(); err != nil {
		return err
	}
	var name []byte
	for dec.PeekKind() != jsontext.KindEndObject {
		quoted, err := dec.ReadValue()
		if err != nil {
			return err
		}
		if name, err = jsontext.AppendUnquote(name[:0], quoted); err != nil {
			return err
		}
		value, err := dec.ReadValue()
		if err != nil {
			return err
		}
		end := int(dec.InputOffset())
		visit(name, raw[end-len(value):end])
	}
	return nil
}

// stringOf returns the text of value if it is a JSON string.
func stringOf(value jsontext.Value) (string, bool) {
	if value.Kind() != jsontext.KindString {
		return "", false
	}
	text, err := jsontext.AppendUnquote(nil, value)
	return string(text), err == nil
}
