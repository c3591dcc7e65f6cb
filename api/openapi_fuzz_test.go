package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/api"
	"github.com/leomutto/pilot-in-a-box/internal/auth"
	"github.com/leomutto/pilot-in-a-box/internal/limit"
	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/store"
)

var (
	fuzzRequests = flag.Int("openapi-requests", 1800, "requests that the driver of the OpenAPI document sends")
	fuzzSeed     = flag.Uint64("openapi-seed", 1, "what it draws them from")
)

// The driver knows the API by its document only. It calls every operation with
// generated values, right and wrong ones, as nobody and in every role. Whatever it
// sends, the answer is none of the server's faults, and the document describes it:
// the status, the media type, and the shape of the body.
func TestTheDocumentHolds(t *testing.T) {
	t.Parallel()
	e := setup(t, withCallbacks, func(c *api.Config) {
		c.MaxBody, c.MaxBatchBody = 64<<10, 256<<10
		c.Access.Throttle.Account = limit.Rate{Burst: 1 << 20, Every: time.Millisecond}
		c.Access.Throttle.Address = c.Access.Throttle.Account
	})
	seeds := e.furnish(24)
	lastHour := time.Now().Truncate(time.Hour)
	e.measure(measured{site: "site-1", cluster: "x", from: lastHour.Add(-time.Hour), to: lastHour, it: 10, facility: 13}) // so that there are figures
	for range 3 {
		e.recommended("site-1", jobs.RecommendationAvailable)
	}
	require.Equal(t, http.StatusCreated, e.call(http.MethodPost, "/sites/site-1/notes", `{"kind":"remark","from":"2026-03-01","text":"a note"}`).StatusCode)
	hash, err := auth.HashPassword(t.Context(), phrase)
	require.NoError(t, err)
	const drivers = 4
	b := &apiBook{seen: map[string]map[int]int{}}
	require.NoError(t, json.Unmarshal([]byte(e.call(http.MethodGet, "/openapi.json", "").text), &b.doc))
	b.find()
	require.Greater(t, len(b.operations), 30)
	var all sync.WaitGroup
	for i := range drivers {
		d := &driver{
			apiBook: b, system: e, rng: rand.New(rand.NewPCG(*fuzzSeed, uint64(i))),
			hash: hash, proofs: map[auth.Role]string{}, seeds: seeds, ids: []string{"1", "2", "3"}, texts: []string{"site-1"},
		}
		all.Go(func() {
			for n := i; n < *fuzzRequests && !b.enough(); n += drivers {
				if op := b.operations[n/drivers%len(b.operations)]; !op.costly || n/drivers/len(b.operations)%3 == 0 {
					d.try(op)
				}
			}
		})
	}
	all.Wait()
	for _, w := range b.wrong {
		t.Error(w)
	}
	require.NotContains(t, e.log.String(), `"level":"ERROR"`)
	if len(b.wrong) > 0 || *fuzzRequests < 1000 {
		return
	}
	var unreached []string
	for _, op := range b.operations {
		well, refused := 0, 0
		for status, n := range b.seen[op.name] {
			if status < http.StatusBadRequest {
				well += n
			} else {
				refused += n
			}
		}
		if well == 0 || refused == 0 && !op.open {
			unreached = append(unreached, fmt.Sprintf("%s: %v", op.name, b.seen[op.name]))
		}
	}
	require.LessOrEqual(t, len(unreached), 4, "operations that were never answered well, or never refused anything: %v", unreached)
}

// furnish makes requests that are over, whose callbacks could not be delivered.
func (e *system) furnish(n int) (list []string) {
	e.t.Helper()
	for range n {
		a := e.call(http.MethodPost, "/mass-requests/", `{"payload":{},"callback_url":"`+hookURL+`"}`)
		require.Equal(e.t, http.StatusCreated, a.StatusCode, a.text)
		e.end(a.id())
		deliveries, err := e.store.Deliveries(e.t.Context(), a.id(), 1)
		require.NoError(e.t, err)
		ref := jobs.DeliveryRef{ID: deliveries[0].ID}
		_, err = e.store.ClaimDelivery(e.t.Context(), ref, 1)
		require.NoError(e.t, err)
		ref.Attempts = 1
		_, err = e.store.SettleDelivery(e.t.Context(), 1, jobs.DeliveryOutcome{DeliveryRef: ref, Status: jobs.DeliveryDead, HTTPStatus: http.StatusInternalServerError})
		require.NoError(e.t, err)
		list = append(list, strconv.FormatInt(a.id(), 10))
	}
	return list
}

// apiBook is the document, and what came of following it.
type apiBook struct {
	doc        map[string]any
	operations []apiOperation

	mu    sync.Mutex
	seen  map[string]map[int]int // answers by operation and status
	wrong []string
}

type apiOperation struct {
	name, method, path string
	about              map[string]any
	costly             bool // hashes a password
	open               bool // takes nothing that could be wrong
}

// find lists the operations in a fixed order.
func (b *apiBook) find() {
	paths, _ := b.doc["paths"].(map[string]any)
	for path, item := range paths {
		methods, _ := item.(map[string]any)
		for method, about := range methods {
			op := apiOperation{method: strings.ToUpper(method), path: path}
			op.name = op.method + " " + path
			op.about, _ = about.(map[string]any)
			op.costly = strings.Contains(path, "password") || path == "/auth/login" || path == "/auth/register" || op.name == "POST /login"
			op.open = path == "/" || path == "/login" || strings.HasPrefix(path, "/health")
			b.operations = append(b.operations, op)
		}
	}
	slices.SortFunc(b.operations, func(a, b apiOperation) int { return strings.Compare(a.name, b.name) })
}

func (b *apiBook) enough() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.wrong) >= 10
}

// schemaOf follows a reference.
func (b *apiBook) schemaOf(s map[string]any) map[string]any {
	for {
		ref, ok := s["$ref"].(string)
		if !ok {
			return s
		}
		var v any = b.doc
		for name := range strings.SplitSeq(strings.TrimPrefix(ref, "#/"), "/") {
			m, _ := v.(map[string]any)
			v = m[name]
		}
		s, _ = v.(map[string]any)
	}
}

// driver sends requests, one at a time.
type driver struct {
	*apiBook
	*system
	rng    *rand.Rand
	hash   string               // of the users' password
	proofs map[auth.Role]string // access tokens of users, by role
	latest string               // address of the user that was added last
	opened string               // a refresh token of theirs
	seeds  []string             // of requests that were there before
	ids    []string             // seen in answers
	texts  []string             // cursors, tokens, addresses seen in answers
}

func (d *driver) chance(one int) bool { return d.rng.IntN(one) == 0 }

func pick[T any](d *driver, list []T) T { return list[d.rng.IntN(len(list))] }

// try sends one request and judges the answer.
func (d *driver) try(op apiOperation) {
	req, sent, role, user := d.request(op)
	if req == nil {
		return // what no client can send
	}
	ctx, cancel := context.WithTimeout(req.Context(), patience)
	defer cancel()
	resp, err := noRedirects.Do(req.WithContext(ctx))
	if err != nil {
		d.complain(sent, fmt.Sprintf("no answer: %v", err))
		return
	}
	defer resp.Body.Close()
	media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	var body []byte
	if media != "text/event-stream" || resp.StatusCode != http.StatusOK { // which may be endless
		if body, err = io.ReadAll(resp.Body); err != nil {
			d.complain(sent, fmt.Sprintf("the answer was cut off: %v", err))
			return
		}
	}
	d.mu.Lock()
	if d.seen[op.name] == nil {
		d.seen[op.name] = map[int]int{}
	}
	d.seen[op.name][resp.StatusCode]++
	d.mu.Unlock()
	if wrong := d.judge(op, req, resp.StatusCode, media, body); wrong != "" {
		d.complain(sent, fmt.Sprintf("%s\n  %d %s: %.600s", wrong, resp.StatusCode, media, body))
	}
	if resp.StatusCode == http.StatusUnauthorized && role != "" { // it revoked a key or shut a user out
		if user {
			delete(d.proofs, role)
		} else {
			d.keys.mu.Lock()
			delete(d.keys.made, role)
			d.keys.mu.Unlock()
		}
	}
	d.learn(body)
}

func (d *driver) complain(sent, what string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.wrong = append(d.wrong, fmt.Sprintf("%s\n  %s", sent, what))
}

// judge holds an answer against the document.
func (d *driver) judge(op apiOperation, req *http.Request, status int, media string, body []byte) string {
	// Health says so of a dependency that needs more than a second, as those of a busy machine may.
	slow := status == http.StatusServiceUnavailable && strings.HasPrefix(req.URL.Path, "/health") && bytes.Contains(body, []byte("does not answer in time"))
	if status >= http.StatusInternalServerError && !slow {
		return "a fault of the server"
	}
	responses, _ := op.about["responses"].(map[string]any)
	described, ok := responses[strconv.Itoa(status)].(map[string]any)
	if !ok {
		return "the document does not describe this status"
	}
	if req.Method == http.MethodHead || status == http.StatusNoContent || status == http.StatusFound || status == http.StatusSeeOther {
		return ""
	}
	content, _ := described["content"].(map[string]any)
	form, ok := content[media].(map[string]any)
	if !ok {
		return "the document does not describe this media type"
	}
	if !strings.HasSuffix(media, "json") || media == "application/x-ndjson" {
		return ""
	}
	var value any
	if err := json.Unmarshal(body, &value); err != nil {
		return "no JSON: " + err.Error()
	}
	schema, _ := form["schema"].(map[string]any)
	if wrong := d.mismatch("", schema, value); wrong != "" {
		return "not of the shape that the document describes: " + wrong
	}
	if status >= http.StatusBadRequest && value.(map[string]any)["status"] != float64(status) { //nolint:forcetypeassert // the schema says so
		return "the problem is of another status"
	}
	return ""
}

// mismatch says where a value does not keep to its schema; "" when it does.
func (b *apiBook) mismatch(where string, schema map[string]any, v any) string {
	schema = b.schemaOf(schema)
	if list, ok := schema["anyOf"].([]any); ok {
		return b.mismatchAll(where, list, v)
	}
	kinds, ok := schema["type"].([]any)
	if !ok && schema["type"] != nil {
		kinds = []any{schema["type"]}
	}
	kind := kindOf(v)
	if len(kinds) > 0 && !slices.Contains(kinds, any(kind)) && (kind != "integer" || !slices.Contains(kinds, any("number"))) {
		return fmt.Sprintf("%s is of type %s, not %v", where, kind, kinds)
	}
	if enum, ok := schema["enum"].([]any); ok && v != nil && !slices.Contains(enum, v) {
		return fmt.Sprintf("%s is %v, not one of %v", where, v, enum)
	}
	switch v := v.(type) {
	case map[string]any:
		return b.mismatchObject(where, schema, v)
	case []any:
		items, _ := schema["items"].(map[string]any)
		for i, item := range v {
			if wrong := b.mismatch(fmt.Sprintf("%s/%d", where, i), items, item); wrong != "" {
				return wrong
			}
		}
	case string:
		most, limited := schema["maxLength"].(float64)
		least, _ := schema["minLength"].(float64)
		if n := float64(utf8.RuneCountInString(v)); n < least || limited && n > most {
			return fmt.Sprintf("%s has %v characters", where, n)
		}
		if schema["format"] == "date-time" {
			if _, err := time.Parse(time.RFC3339Nano, v); err != nil {
				return where + " is no time: " + v
			}
		}
	case float64:
		if least, ok := schema["minimum"].(float64); ok && v < least {
			return fmt.Sprintf("%s is %v, below %v", where, v, least)
		}
	}
	return ""
}

func (b *apiBook) mismatchAll(where string, list []any, v any) string {
	var wrong string
	for _, one := range list {
		s, _ := one.(map[string]any)
		if wrong = b.mismatch(where, s, v); wrong == "" {
			return ""
		}
	}
	return wrong
}

func (b *apiBook) mismatchObject(where string, schema, v map[string]any) string {
	properties, _ := schema["properties"].(map[string]any)
	required, _ := schema["required"].([]any)
	for _, name := range required {
		if _, ok := v[name.(string)]; !ok { //nolint:forcetypeassert // names are strings
			return fmt.Sprintf("%s/%v is missing", where, name)
		}
	}
	for name, value := range v {
		inner, known := properties[name].(map[string]any)
		if !known {
			if more, ok := schema["additionalProperties"].(bool); ok && !more {
				return fmt.Sprintf("%s/%s is not described", where, name)
			}
			inner, _ = schema["additionalProperties"].(map[string]any)
		}
		if wrong := b.mismatch(where+"/"+name, inner, value); wrong != "" {
			return wrong
		}
	}
	return ""
}

func kindOf(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case bool:
		return "boolean"
	case string:
		return "string"
	case float64:
		if v == float64(int64(v)) {
			return "integer"
		}
		return "number"
	case []any:
		return "array"
	}
	return "object"
}

// learn keeps what answers hold, for later requests.
func (d *driver) learn(body []byte) {
	var value any
	if json.Unmarshal(body, &value) != nil {
		return
	}
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			for _, name := range slices.Sorted(maps.Keys(v)) {
				switch inner := v[name].(type) {
				case float64:
					if name == "id" {
						d.ids = append(d.ids, strconv.FormatInt(int64(inner), 10))
					}
				case string:
					switch name {
					case "cursor", "refresh_token", "email", "created_by", "site_id":
						d.texts = append(d.texts, inner)
					case "next":
						if u, err := url.Parse(inner); err == nil {
							d.texts = append(d.texts, u.Query().Get("cursor"))
						}
					}
				default:
					walk(inner)
				}
			}
		case []any:
			for _, item := range v {
				walk(item)
			}
		}
	}
	walk(value)
	const most = 40
	d.ids = d.ids[max(0, len(d.ids)-most):]
	d.texts = d.texts[max(0, len(d.texts)-most):]
}

// request makes a request of an operation, wrong in places or right, as somebody.
func (d *driver) request(op apiOperation) (req *http.Request, sent string, role auth.Role, user bool) {
	wrong := d.chance(2)
	path, query, header := op.path, url.Values{}, http.Header{}
	parameters, _ := op.about["parameters"].([]any)
	for _, p := range parameters {
		p, _ := p.(map[string]any)
		name, _ := p["name"].(string)
		switch value := d.parameter(p, wrong && d.chance(2)); p["in"] {
		case "path":
			if value == "" { // which would be another path
				value = " "
			}
			path = strings.ReplaceAll(path, "{"+name+"}", url.PathEscape(value))
		case "query":
			if d.chance(3) {
				query.Add(name, value)
			}
		case "header":
			if d.chance(3) && !strings.ContainsAny(value, "\r\n\x00") {
				header.Set(name, value)
			}
		}
	}
	if wrong && d.chance(10) {
		query.Add(pick(d, []string{"page", "limit", "", "\x00", "id"}), d.junk())
	}
	if d.chance(4) && !strings.HasSuffix(path, "/") {
		path += "/"
	}
	target := d.url + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	if wrong && d.chance(20) {
		target += "?" + pick(d, []string{"%zz", "a=b;c=d", "=", "&&&", "limit=%ff", strings.Repeat("x", 3000)})
	}
	method := op.method
	if method == http.MethodGet && d.chance(10) {
		method = http.MethodHead
	}
	var body []byte
	if about, ok := op.about["requestBody"].(map[string]any); ok {
		body = d.body(about, header, wrong)
	}
	req, err := http.NewRequestWithContext(d.t.Context(), method, target, bytes.NewReader(body))
	if err != nil {
		return nil, "", "", false
	}
	if d.chance(3) {
		header.Set("Accept", pick(d, []string{
			"application/json", "text/event-stream", "text/csv", "application/x-ndjson", "image/png", "*/*;q=0", "text/html", ";;;", "application/json;q=zz",
		}))
	}
	if wrong && d.chance(20) {
		for i := range 120 {
			header.Set(fmt.Sprintf("X-%d", i), "1")
		}
	}
	if wrong && d.chance(20) {
		header.Set("Origin", "https://evil.example")
	}
	req.Header = header
	role, user = d.introduce(req, wrong)
	who := "nobody, or a wrong token"
	if role != "" {
		who = string(role)
	}
	return req, fmt.Sprintf("%s %s as %s\n  %v\n  %.600q", method, target, who, header, body), role, user
}

// introduce says who makes the request: nobody, a machine or a person.
func (d *driver) introduce(req *http.Request, wrong bool) (role auth.Role, user bool) {
	if wrong && d.chance(6) {
		if !d.chance(3) {
			req.Header.Set("Authorization", pick(d, []string{"Bearer", "Bearer x", "Bearer " + noKey, "Basic dTpw", "Bearer a.b.c", "Bearer " + strings.Repeat("x", 5000)}))
		}
		return "", false
	}
	role = pick(d, []auth.Role{auth.Viewer, auth.Operator, auth.Admin, auth.Admin, auth.Admin})
	if !d.chance(4) && !strings.HasPrefix(req.URL.Path, "/auth/password") {
		d.as(role).sign(req)
		return role, false
	}
	if d.proofs[role] == "" {
		d.join(role)
	}
	req.Header.Set("Authorization", "Bearer "+d.proofs[role])
	return role, true
}

// join adds a user, past the API: the driver may have shut out everybody who could.
func (d *driver) join(role auth.Role) {
	ctx, by := d.t.Context(), store.Origin{Actor: "test"}
	u, err := d.store.AddUser(ctx, fmt.Sprintf("u%d@example.com", d.rng.Uint64()), role, d.hash, by)
	if err == nil {
		d.latest, d.opened = u.Email, auth.NewOpaque()
		_, err = d.store.OpenSession(ctx, store.NewSession{
			Kind: store.RefreshSession, User: u.ID, Generation: u.Generation, TokenHash: auth.Digest(d.opened), TTL: time.Hour,
		}, by)
	}
	if err == nil {
		who := auth.Identity{Kind: auth.User, ID: u.ID, Name: u.Email, Role: u.Role}
		d.proofs[role], _, err = signing().Issue(auth.Access{Identity: who, Generation: u.Generation})
	}
	if errors.Is(err, store.ErrNotFound) { // another driver disabled the new user meanwhile
		d.join(role)
		return
	}
	if err != nil {
		d.complain("a user of the driver", err.Error())
	}
}

// parameter is a value for a parameter.
func (d *driver) parameter(p map[string]any, wrong bool) string {
	if wrong {
		return d.junk()
	}
	switch name, _ := p["name"].(string); name {
	case "id":
		if d.chance(2) {
			return pick(d, d.seeds)
		}
		return pick(d, d.ids)
	case "wait": // the driver has no time
		return pick(d, []string{"0s", "1ms", "20ms"})
	case "cursor":
		return pick(d, d.texts)
	case "site":
		if !d.chance(4) {
			return "site-1"
		}
	case "note":
		return pick(d, d.ids)
	case "tz":
		return pick(d, []string{"UTC", "Europe/Oslo", "Asia/Kolkata"})
	case "from", "to", "cfrom", "cto":
		if schema, _ := p["schema"].(map[string]any); schema["format"] == nil && !d.chance(4) {
			return map[string]string{"from": "now-7d", "to": "now", "cfrom": "now-14d", "cto": "now-7d"}[name]
		}
	}
	schema, _ := p["schema"].(map[string]any)
	return fmt.Sprint(d.value(schema, 0))
}

// body is a body, in a form that the operation takes or in another one.
func (d *driver) body(about map[string]any, header http.Header, wrong bool) []byte {
	content, _ := about["content"].(map[string]any)
	media := pick(d, slices.Sorted(maps.Keys(content)))
	form, _ := content[media].(map[string]any)
	schema, _ := form["schema"].(map[string]any)
	header.Set("Content-Type", media)
	if wrong && d.chance(15) {
		header.Set("Content-Type", pick(d, []string{"text/plain", "", "application/json; charset=latin1", "multipart/form-data", "application/xml", "application/json;;"}))
	}
	var text []byte
	switch media {
	case "application/x-www-form-urlencoded":
		fields, _ := d.value(schema, 0).(map[string]any)
		values := url.Values{}
		for name, v := range fields {
			values.Set(name, fmt.Sprint(v))
		}
		text = []byte(values.Encode())
	case "application/x-ndjson": // of what the array has as items
		array, _ := content["application/json"].(map[string]any)
		items, _ := array["schema"].(map[string]any)
		list, _ := d.value(items, 0).([]any)
		for _, item := range list {
			raw, _ := json.Marshal(d.spoil(item, wrong)) // of values that JSON has
			text = append(append(text, raw...), '\n')
		}
	default:
		value := d.value(schema, 0)
		examples, _ := form["examples"].(map[string]any)
		if len(examples) > 0 && d.chance(3) {
			example, _ := examples[pick(d, slices.Sorted(maps.Keys(examples)))].(map[string]any)
			raw, _ := json.Marshal(example["value"]) // a copy of it
			_ = json.Unmarshal(raw, &value)
		}
		text, _ = json.Marshal(d.spoil(value, wrong)) // of values that JSON has
	}
	if wrong && d.chance(4) {
		text = d.damage(text)
	}
	return text
}

// spoil puts junk in some place of a value.
func (d *driver) spoil(v any, wrong bool) any {
	if !wrong {
		return v
	}
	if d.chance(3) {
		return d.junkValue(0)
	}
	switch v := v.(type) {
	case map[string]any:
		if len(v) == 0 || d.chance(6) {
			v[pick(d, []string{"more", "", "\x00", "Payload", "__proto__", "payload"})] = d.junkValue(0)
			return v
		}
		name := pick(d, slices.Sorted(maps.Keys(v)))
		if d.chance(4) {
			delete(v, name)
			return v
		}
		v[name] = d.spoil(v[name], true)
		return v
	case []any:
		if len(v) > 0 {
			i := d.rng.IntN(len(v))
			v[i] = d.spoil(v[i], true)
		}
		return v
	}
	return d.junkValue(0)
}

// damage makes something else of a text.
func (d *driver) damage(text []byte) []byte {
	if len(text) == 0 {
		return []byte(pick(d, []string{"\x00", "{", "nil", "\ufeff{}"}))
	}
	at := d.rng.IntN(len(text))
	switch d.rng.IntN(5) {
	case 0:
		return text[:at]
	case 1:
		return slices.Concat(text[:at], []byte{byte(d.rng.IntN(256))}, text[at:])
	case 2:
		return slices.Concat(text[:at], text)
	case 3:
		return slices.Concat(text[:at], bytes.Repeat([]byte("["), 5000))
	}
	return bytes.Repeat(text, 1+(100<<10)/len(text)) // too long
}

// value keeps to a schema, as far as the schema tells.
func (d *driver) value(schema map[string]any, depth int) any {
	schema = d.schemaOf(schema)
	if enum, ok := schema["enum"].([]any); ok {
		return pick(d, enum)
	}
	if list, ok := schema["anyOf"].([]any); ok {
		one, _ := pick(d, list).(map[string]any)
		return d.value(one, depth)
	}
	kind, ok := schema["type"].(string)
	if kinds, several := schema["type"].([]any); several {
		kind, ok = pick(d, kinds).(string)
	}
	if !ok {
		return d.junkValue(depth)
	}
	switch kind {
	case "object":
		return d.object(schema, depth)
	case "array":
		items, _ := schema["items"].(map[string]any)
		list := make([]any, d.rng.IntN(4))
		for i := range list {
			list[i] = d.value(items, depth+1)
		}
		return list
	case "string":
		return d.text(schema)
	case "boolean":
		return d.chance(2)
	case "integer", "number":
		least, _ := schema["minimum"].(float64)
		most, ok := schema["maximum"].(float64)
		if !ok {
			most = least + 100
		}
		return int64(least) + d.rng.Int64N(int64(most-least)+1)
	}
	return nil
}

func (d *driver) object(schema map[string]any, depth int) any {
	properties, _ := schema["properties"].(map[string]any)
	required, _ := schema["required"].([]any)
	v := map[string]any{}
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		inner, _ := properties[name].(map[string]any)
		if known := map[string]string{"email": d.latest, "password": phrase, "current_password": phrase, "refresh_token": d.opened}[name]; known != "" && d.chance(2) {
			v[name] = known
			continue
		}
		if slices.Contains(required, any(name)) || d.chance(3) && depth < 8 {
			v[name] = d.value(inner, depth+1)
		}
	}
	if more, ok := schema["additionalProperties"].(bool); ok && more && depth < 4 {
		for range d.rng.IntN(3) {
			v[pick(d, []string{"it_load_kw", "Größe", "a b", "x.y", "note"})] = d.junkValue(depth + 1)
		}
	}
	return v
}

var exampleEmail = regexp.MustCompile(`@`)

func (d *driver) text(schema map[string]any) string {
	switch schema["format"] {
	case "date-time":
		return time.Unix(d.rng.Int64N(4e9), 0).UTC().Format(time.RFC3339)
	case "email":
		return fmt.Sprintf("a%d@example.com", d.rng.IntN(50))
	case "password":
		return pick(d, []string{phrase, "another long password", "short"})
	}
	examples, _ := schema["examples"].([]any)
	if len(examples) > 0 && d.chance(3) {
		if text, ok := pick(d, examples).(string); ok && !exampleEmail.MatchString(text) {
			return text
		}
	}
	return pick(d, append(slices.Clip(d.texts), "site-1", "x", "https://example.com/hook", "Größe", d.ids[0]))
}

// junk is text that nobody should have sent.
func (d *driver) junk() string {
	return pick(d, []string{
		"", " ", "0", "-1", "1.5", "1e9", "9223372036854775808", "99999999999999999999", "0x10", "+1", "NaN", "null", "true", "abc", "\x00", "a\x00b", "\xff\xfe",
		"' OR 1=1 --", "1; DROP TABLE users", "../../etc/passwd", "..%2f", "%", "<script>alert(1)</script>", "${jndi:ldap://x}", "{{7*7}}", "\r\nX-Evil: 1",
		strings.Repeat("x", 300), strings.Repeat("é", 150), "2026-02-30T00:00:00Z", "0000-01-01T00:00:00Z", "9999-12-31T23:59:59.999999999Z", "2026-03-01", "\u202e", "💥", "AQ==", "AgAAAAAAAAAA",
		"61s", "-1s", "/", "//", ".", "..",
	})
}

// junkValue is any JSON value.
func (d *driver) junkValue(depth int) any {
	switch n := d.rng.IntN(12); {
	case n < 5:
		return strings.ToValidUTF8(d.junk(), "�")
	case n == 5:
		return nil
	case n == 6:
		return d.chance(2)
	case n == 7:
		return pick(d, []any{0, -1, 1.5, 1e308, -1e308, 5e-324, int64(1) << 62, json.Number("9223372036854775808"), json.Number("1e999"), json.Number("-0")})
	case n == 8 && depth < 4:
		return []any{d.junkValue(depth + 1), d.junkValue(depth + 1)}
	case n == 9 && depth < 4:
		return map[string]any{d.junk(): d.junkValue(depth + 1)}
	case n == 10:
		return json.RawMessage(strings.Repeat("[", 40) + strings.Repeat("]", 40))
	}
	return map[string]any{}
}
