package signals

// FieldType is the type of a field of the shape, for packages that write
// documents.
type FieldType string

// The types of fields.
const (
	TypeText    FieldType = "text" // also times
	TypeNumber  FieldType = "number"
	TypeBoolean FieldType = "boolean"
)

// Field is one value of a document that is not an object.
type Field struct {
	Path []string // names from the root: request, signals, energy, it_load_kw
	Type FieldType
}

// Fields lists all values that a document can have, in the order of its
// structs.
func Fields() []Field { return fieldsOf(documentShape(), nil) }

func fieldsOf(s *shape, parent []string) []Field {
	var list []Field
	for i := range s.fields {
		f := &s.fields[i]
		path := append(append([]string{}, parent...), f.name)
		switch f.kind {
		case kindObject:
			list = append(list, fieldsOf(f.object, path)...)
		case kindNumber:
			list = append(list, Field{path, TypeNumber})
		case kindBoolean:
			list = append(list, Field{path, TypeBoolean})
		default:
			list = append(list, Field{path, TypeText})
		}
	}
	return list
}
