package api

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"time"

	"github.com/leomutto/pilot-in-a-box/store"
)

// A cursor is the position of a list's last row, opaque to clients: a version,
// created_at in microseconds (what Postgres keeps) and the id.
const (
	cursorVersion = 1
	cursorLength  = 1 + 8 + 8
)

var errCursor = errors.New(`must be a cursor out of the "next" of an earlier page`)

var cursorText = base64.RawURLEncoding.Strict()

func encodeCursor(p store.Position) string {
	raw := make([]byte, 0, cursorLength)
	raw = append(raw, cursorVersion)
	raw = binary.BigEndian.AppendUint64(raw, uint64(p.CreatedAt.UnixMicro()))
	raw = binary.BigEndian.AppendUint64(raw, uint64(p.ID)) //nolint:gosec // ids are positive
	return cursorText.EncodeToString(raw)
}

func decodeCursor(text string) (store.Position, error) {
	raw, err := cursorBytes(text, cursorVersion, cursorLength)
	if err != nil {
		return store.Position{}, err
	}
	p := store.Position{
		CreatedAt: time.UnixMicro(int64(binary.BigEndian.Uint64(raw[1:]))).UTC(), //nolint:gosec // out of range is refused below
		ID:        int64(binary.BigEndian.Uint64(raw[9:])),                       //nolint:gosec // out of range is refused below
	}
	if p.ID <= 0 || !storable(p.CreatedAt) {
		return store.Position{}, errCursor
	}
	return p, nil
}

// cursorBytes turns a cursor's text back into its bytes, the version first. The
// text has to be as long as theirs would be, since the decoder skips line ends.
func cursorBytes(text string, version byte, length int) ([]byte, error) {
	raw, err := cursorText.DecodeString(text)
	if err != nil || len(text) != cursorText.EncodedLen(length) || len(raw) != length || raw[0] != version {
		return nil, errCursor
	}
	return raw, nil
}

// storable tells whether Postgres and RFC 3339 can both hold the instant. Nothing
// of ours is older than the epoch.
func storable(t time.Time) bool {
	return t.Unix() >= 0 && t.UTC().Year() <= 9999
}
