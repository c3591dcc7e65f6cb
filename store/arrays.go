package store

import (
	"database/sql/driver"
	"encoding/binary"
	"math"
	"time"
)

// These types are the array parameters of the statements that every request
// goes through. They are sent in the binary format of the wire protocol, so no
// element has to be quoted here and unquoted by Postgres, which for a payload
// would be most of the work. lib/pq sends a []byte in that format when the
// connection has binary_parameters.
//
// The format is that of array_recv in src/backend/utils/adt/arrayfuncs.c: the
// number of dimensions, whether there are NULLs, the element type, the length
// and lower bound of each dimension, and then each element after its length. A
// length of -1 means NULL.
type (
	textArray  []string    // text[]; "" is an empty string
	nullArray  []string    // text[]; "" is NULL
	jsonArray  [][]byte    // json[]; an empty element is NULL
	bytesArray [][]byte    // bytea[]; nil is NULL
	int64Array []int64     // bigint[]
	int32Array []int32     // integer[]
	floatArray []float64   // float8[]
	boolArray  []bool      // boolean[]
	timeArray  []time.Time // timestamptz[]; the zero time is NULL
)

// The types of the elements, as the values of pg_type.oid for the built-in
// types.
const (
	oidBool        = 16
	oidBytea       = 17
	oidInt8        = 20
	oidInt4        = 23
	oidText        = 25
	oidJSON        = 114
	oidFloat8      = 701
	oidTimestamptz = 1184
)

const arrayNull = math.MaxUint32 // -1 as a length

// beginArray begins an array of n elements that take size bytes together,
// without their lengths.
func beginArray(oid uint32, n, size int) []byte {
	b := make([]byte, 0, 20+4*n+size)
	dimensions := uint32(1)
	if n == 0 {
		dimensions = 0
	}
	b = binary.BigEndian.AppendUint32(b, dimensions)
	b = binary.BigEndian.AppendUint32(b, 1) // NULLs are possible; Postgres checks each element anyway
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

func totalLength[T string | []byte](list []T) (n int) {
	for _, e := range list {
		n += len(e)
	}
	return n
}

// Value implements driver.Valuer.
func (a textArray) Value() (driver.Value, error) {
	b := beginArray(oidText, len(a), totalLength(a))
	for _, e := range a {
		b = appendText(b, e)
	}
	return b, nil
}

// Value implements driver.Valuer.
func (a nullArray) Value() (driver.Value, error) {
	b := beginArray(oidText, len(a), totalLength(a))
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
func (a jsonArray) Value() (driver.Value, error) {
	b := beginArray(oidJSON, len(a), totalLength(a))
	for _, e := range a {
		if len(e) == 0 {
			b = binary.BigEndian.AppendUint32(b, arrayNull)
			continue
		}
		b = appendText(b, e)
	}
	return b, nil
}

// Value implements driver.Valuer.
func (a bytesArray) Value() (driver.Value, error) {
	b := beginArray(oidBytea, len(a), totalLength(a))
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
	b := beginArray(oidInt8, len(a), 8*len(a))
	for _, e := range a {
		b = binary.BigEndian.AppendUint32(b, 8)
		b = binary.BigEndian.AppendUint64(b, uint64(e)) //nolint:gosec // the bits are meant
	}
	return b, nil
}

// Value implements driver.Valuer.
func (a int32Array) Value() (driver.Value, error) {
	b := beginArray(oidInt4, len(a), 4*len(a))
	for _, e := range a {
		b = binary.BigEndian.AppendUint32(b, 4)
		b = binary.BigEndian.AppendUint32(b, uint32(e)) //nolint:gosec // the bits are meant
	}
	return b, nil
}

// Value implements driver.Valuer.
func (a floatArray) Value() (driver.Value, error) {
	b := beginArray(oidFloat8, len(a), 8*len(a))
	for _, e := range a {
		b = binary.BigEndian.AppendUint32(b, 8)
		b = binary.BigEndian.AppendUint64(b, math.Float64bits(e))
	}
	return b, nil
}

// Value implements driver.Valuer.
func (a boolArray) Value() (driver.Value, error) {
	b := beginArray(oidBool, len(a), len(a))
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

// postgresEpoch is the time from which Postgres counts the microseconds of a
// timestamp.
var postgresEpoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// Value implements driver.Valuer.
func (a timeArray) Value() (driver.Value, error) {
	b := beginArray(oidTimestamptz, len(a), 8*len(a))
	for _, e := range a {
		if e.IsZero() {
			b = binary.BigEndian.AppendUint32(b, arrayNull)
			continue
		}
		b = binary.BigEndian.AppendUint32(b, 8)
		b = binary.BigEndian.AppendUint64(b, uint64(e.UnixMicro()-postgresEpoch.UnixMicro())) //nolint:gosec // the bits are meant
	}
	return b, nil
}
