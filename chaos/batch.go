package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"slices"
)

// batch sends submissions in one body. When a response breaks off, the part
// that arrived counts: an item with an answer is stored.
func (l *load) batch(ctx context.Context, how form, list []*Sent) {
	items := make([][]byte, len(list))
	for i, s := range list {
		items[i] = s.item
	}
	header, body := jsonHeader(), slices.Concat([]byte("["), bytes.Join(items, []byte(",")), []byte("]"))
	if how == asLines {
		header, body = http.Header{"Content-Type": {"application/x-ndjson"}}, bytes.Join(items, []byte("\n"))
	}
	a, err := l.call(ctx, http.MethodPost, "/mass-requests/batch", header, body)
	switch {
	case a.status == http.StatusServiceUnavailable:
		l.refused.Add(int64(len(list)))
		return
	case a.status != http.StatusOK && err == nil:
		l.complain("the batch answered %d: %s", a.status, a.body)
		return
	}
	answers, whole := readItems(how, a.body)
	if err == nil && (!whole || len(answers) != len(list)) {
		l.complain("a batch of %d answered: %s", len(list), a.body)
	}
	for i, it := range answers {
		switch {
		case i >= len(list) || it.Index != i:
			l.complain("a batch answered its item %d with %+v", i, it)
		case it.Status == http.StatusCreated && it.ID != 0:
			l.told(list[i], Told{ID: it.ID, Replayed: it.replayed()})
		case it.Status == http.StatusServiceUnavailable:
			l.refused.Add(1)
		default:
			l.complain("a batch answered its item %d with %+v", i, it)
		}
	}
	l.silent.Add(int64(max(0, len(list)-len(answers))))
}

// batchItem is the answer to one submission of a batch. Only the line of totals
// at the end of the response has Created.
type batchItem struct {
	Index    int             `json:"index"`
	Status   int             `json:"status"`
	ID       int64           `json:"id"`
	Replayed json.RawMessage `json:"replayed"` // true or false for an item, a number in the totals
	Problem  json.RawMessage `json:"problem"`
	Created  *int            `json:"created"`
}

func (it *batchItem) replayed() bool { return string(it.Replayed) == "true" }

// readItems reads a response, whose end may be missing.
func readItems(how form, body []byte) (items []batchItem, whole bool) {
	if how == asArray {
		var doc struct {
			Items   []batchItem `json:"items"`
			Created *int        `json:"created"`
		}
		err := json.Unmarshal(body, &doc)
		return doc.Items, err == nil && doc.Created != nil
	}
	lines := json.NewDecoder(bytes.NewReader(body))
	for {
		var it batchItem
		if err := lines.Decode(&it); err != nil {
			return items, false
		}
		if it.Created != nil {
			return items, true
		}
		items = append(items, it)
	}
}
