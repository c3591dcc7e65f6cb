package store

import (
	"database/sql/driver"
	"encoding/binary"
	"math"
	"time"
)

// The arrays of the statements that every request goes through are sent in
// PostgreSQL's binary format. No element is quoted here or unquoted by the server,
// which would be most of the work for a payload. lib/pq sends a []byte in binary
// when the connection has binary_parameters.
//
// The format is that of array_recv in src/backend/utils/adt/arrayfuncs.c: the
// number of dimensions, whether there are NULLs, the element type, the length and
// lower bound of each dimension, and then each element after its length. A length
// of -1 means NULL.
type (
	textArray  []string    // text[]; "" is an empty string
	nullArray  []string    // text[]; "" is NULL
	jsonbArray [][]byte    // jsonb[]; an empty element is NULL
	bytesArray [][]byte    // bytea[]; nil is NULL
	int64Array []int64     // bigint[]
	int32Array []int32     // integer[]
	floatArray []float64   // float8[]
	boolArray  []bool      // boolean[]
	timeArray  []time.Time // timestamptz[]; the zero time is NULL
)

// The types of elements: pg_type.oid of built-in types.
const (
	oidBool        = 16
	oidBytea       = 17
	oidInt8        = 20
	oidInt4        = 23
	oidText        = 25
	oidFloat8      = 701
	oidTimestamptz = 1184
	oidJSONB       = 3802
)

const arrayNull = math.MaxUint32 // -1 as a length

// array begins an array of n elements that take size bytes together, without their
// lengths.
func array(oid uint32, n, size int) []byte {
	b := make([]byte, 0, 20+4*n+size)
	dimensions := uint32(1)
	if n == 0 {
		dimensions = 0
	}
	b = binary.BigEndian.AppendUint32(b, dimensions)
	b = binary.BigEndian.AppendUint32(b, 1) // NULLs are possible; Postgres looks for itself
	b = binary.BigEndian.AppendUint32(b, oid)
	if n > 0 {
		b = binary.BigEndian.AppendUint32(b, uint32(n)) //nolint:gosec // the groups are hundreds long
		b = binary.BigEndian.AppendUint32(b, 1)
	}
	return b
}

func appendText[T string | []byte](b []byte, element T) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(element))) //nolint:gosec // bodies are bounded far below
	return append(b, element...)
}

func total[T string | []byte](list []T) (n int) {
	for _, e := range list {
		n += len(e)
	}
	return n
}

// Value implements driver.Valuer.
func (a textArray) Value() (driver.Value, error) {
	b := array(oidText, len(a), total(a))
	for _, e := range a {
		b = appendText(b, e)
	}
	return b, nil
}

// Value implements driver.Valuer.
func (a nullArray) Value() (driver.Value, error) {
	b := array(oidText, len(a), total(a))
	for _, e := range a {
		if e == "" {
			b = binary.BigEndian.AppendUint32(b, arrayNull)
			continue
		}
		b = appendText(b, e)
	}
	return b, nil
}

// Value implements driver.Valuer.
func (a jsonbArray) Value() (driver.Value, error) {
	const version = 1 // of the binary format of jsonb, which is this byte and the text
	b := array(oidJSONB, len(a), total(a)+len(a))
	for _, e := range a {
		if len(e) == 0 {
			b = binary.BigEndian.AppendUint32(b, arrayNull)
			continue
		}
		b = binary.BigEndian.AppendUint32(b, uint32(len(e)+1)) //nolint:gosec // bodies are bounded far below
		b = append(b, version)
		b = append(b, e...)
	}
	return b, nil
}

// Value implements driver.Valuer.
func (a bytesArray) Value() (driver.Value, error) {
	b := array(oidBytea, len(a), total(a))
	for _, e := range a {
		if e == nil {
			b = binary.BigEndian.AppendUint32(b, arrayNull)
			continue
		}
		b = appendText(b, e)
	}
	return b, nil
}

// Value implements driver.Valuer.
func (a int64Array) Value() (driver.Value, error) {
	b := array(oidInt8, len(a), 8*len(a))
	for _, e := range a {
		b = binary.BigEndian.AppendUint32(b, 8)
		b = binary.BigEndian.AppendUint64(b, uint64(e)) //nolint:gosec // the bits are meant
	}
	return b, nil
}

// Value implements driver.Valuer.
func (a int32Array) Value() (driver.Value, error) {
	b := array(oidInt4, len(a), 4*len(a))
	for _, e := range a {
		b = binary.BigEndian.AppendUint32(b, 4)
		b = binary.BigEndian.AppendUint32(b, uint32(e)) //nolint:gosec // the bits are meant
	}
	return b, nil
}

// Value implements driver.Valuer.
func (a floatArray) Value() (driver.Value, error) {
	b := array(oidFloat8, len(a), 8*len(a))
	for _, e := range a {
		b = binary.BigEndian.AppendUint32(b, 8)
		b = binary.BigEndian.AppendUint64(b, math.Float64bits(e))
	}
	return b, nil
}

// Value implements driver.Valuer.
func (a boolArray) Value() (driver.Value, error) {
	b := array(oidBool, len(a), len(a))
	for _, e := range a {
		b = binary.BigEndian.AppendUint32(b, 1)
		if e {
			b = append(b, 1)
		} else {
			b = append(b, 0)
		}
	}
	return b, nil
}

// epoch is the instant from which Postgres counts the microseconds of a
// timestamp.
var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// Value implements driver.Valuer.
func (a timeArray) Value() (driver.Value, error) {
	b := array(oidTimestamptz, len(a), 8*len(a))
	for _, e := range a {
		if e.IsZero() {
			b = binary.BigEndian.AppendUint32(b, arrayNull)
			continue
		}
		b = binary.BigEndian.AppendUint32(b, 8)
		b = binary.BigEndian.AppendUint64(b, uint64(e.UnixMicro()-epoch.UnixMicro())) //nolint:gosec // the bits are meant
	}
	return b, nil
}
