package jobs

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// IDs are ids of requests. In JSON they are a list in which a run of three or
// more that follow each other is one text: [7,"100-163"]. The requests of a batch
// mostly do, and Redis keeps each batch in memory as long as it waits.
type IDs []int64

// mostIDs bounds what a text of a run may stand for.
const mostIDs = 100_000

// MarshalJSON implements json.Marshaler.
func (ids IDs) MarshalJSON() ([]byte, error) {
	b := []byte{'['}
	for i := 0; i < len(ids); {
		end := i + 1
		for end < len(ids) && ids[end] == ids[end-1]+1 {
			end++
		}
		if i > 0 {
			b = append(b, ',')
		}
		if end-i < 3 {
			b = strconv.AppendInt(b, ids[i], 10)
			i++
			continue
		}
		b = append(b, '"')
		b = strconv.AppendInt(b, ids[i], 10)
		b = append(b, '-')
		b = strconv.AppendInt(b, ids[end-1], 10)
		b = append(b, '"')
		i = end
	}
	return append(b, ']'), nil
}

// UnmarshalJSON implements json.Unmarshaler.
func (ids *IDs) UnmarshalJSON(raw []byte) error {
	var list []json.RawMessage
	if err := json.Unmarshal(raw, &list); err != nil {
		return fmt.Errorf("decode ids: %w", err)
	}
	*ids = nil
	for _, item := range list {
		first, last, err := run(item)
		if err != nil || last < first || last-first >= mostIDs-int64(len(*ids)) {
			return fmt.Errorf("decode ids: %.40q is neither an id nor a run of them", item)
		}
		for n := range last - first + 1 {
			*ids = append(*ids, first+n)
		}
	}
	return nil
}

// run reads an id, or the first and the last of several.
func run(raw json.RawMessage) (first, last int64, err error) {
	text, isRun := strings.CutPrefix(string(raw), `"`)
	from, to, both := strings.Cut(strings.TrimSuffix(text, `"`), "-")
	if isRun != both {
		return 0, 0, errors.New("not a run")
	}
	if first, err = strconv.ParseInt(from, 10, 64); err == nil && first <= 0 {
		err = errors.New("an id is positive")
	}
	if err != nil || !isRun {
		return first, first, err
	}
	last, err = strconv.ParseInt(to, 10, 64)
	return first, last, err
}
