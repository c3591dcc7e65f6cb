package web

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"time"
)

// Cursors are the positions of the last row of a page, opaque to clients. The
// first byte is the version, which tells the kinds of cursors apart:
//
//	1: created_at in microseconds (what Postgres keeps), and the id
//	2: the id alone
const (
	timeCursorVersion = 1
	timeCursorLength  = 1 + 8 + 8
	idCursorVersion   = 2
	idCursorLength    = 1 + 8
)

var errCursor = errors.New(`must be a cursor from the "next" of an earlier page`)

var cursorEncoding = base64.RawURLEncoding.Strict()

// TimeCursor is the cursor of a list that is ordered by time and id.
func TimeCursor(at time.Time, id int64) string {
	raw := make([]byte, 0, timeCursorLength)
	raw = append(raw, timeCursorVersion)
	raw = binary.BigEndian.AppendUint64(raw, uint64(at.UnixMicro())) // ParseTimeCursor turns it back
	raw = binary.BigEndian.AppendUint64(raw, uint64(id))             //nolint:gosec // ids are positive
	return cursorEncoding.EncodeToString(raw)
}

// ParseTimeCursor returns the position of a TimeCursor. The text of its error
// is meant for the client.
func ParseTimeCursor(text string) (at time.Time, id int64, err error) {
	raw, err := cursorBytes(text, timeCursorVersion, timeCursorLength)
	if err != nil {
		return time.Time{}, 0, err
	}
	at = time.UnixMicro(int64(binary.BigEndian.Uint64(raw[1:]))).UTC() //nolint:gosec // out of range is refused below
	id = int64(binary.BigEndian.Uint64(raw[9:]))                       //nolint:gosec // out of range is refused below
	if id <= 0 || !Storable(at) {
		return time.Time{}, 0, errCursor
	}
	return at, id, nil
}

// IDCursor is the cursor of a list that is ordered by id.
func IDCursor(id int64) string {
	raw := binary.BigEndian.AppendUint64([]byte{idCursorVersion}, uint64(id)) //nolint:gosec // ids are positive
	return cursorEncoding.EncodeToString(raw)
}

// ParseIDCursor returns the position of an IDCursor. The text of its error is
// meant for the client.
func ParseIDCursor(text string) (int64, error) {
	raw, err := cursorBytes(text, idCursorVersion, idCursorLength)
	if err != nil {
		return 0, err
	}
	id := int64(binary.BigEndian.Uint64(raw[1:])) //nolint:gosec // out of range is refused below
	if id <= 0 {
		return 0, errCursor
	}
	return id, nil
}

// cursorBytes turns the text of a cursor back into its bytes, the version
// first. It checks the length of the text as well, because the decoder skips
// line ends.
func cursorBytes(text string, version byte, length int) ([]byte, error) {
	raw, err := cursorEncoding.DecodeString(text)
	if err != nil || len(text) != cursorEncoding.EncodedLen(length) || len(raw) != length || raw[0] != version {
		return nil, errCursor
	}
	return raw, nil
}
