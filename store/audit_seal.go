package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"slices"
	"time"

	"github.com/lib/pq"
)

// Seal is a link of the chain that makes changes to the trail evident. It
// consists of a hash over the events of a range of ids and the hash of the seal
// before it.
type Seal struct {
	ID         int64     `db:"id"`
	FirstEvent int64     `db:"first_event"`
	LastEvent  int64     `db:"last_event"`
	SealedAt   time.Time `db:"sealed_at"`
	Events     int       `db:"events"`
	Version    int16     `db:"version"`
	Block      []byte    `db:"block_hash"`
	Previous   []byte    `db:"previous_hash"`
	Hash       []byte    `db:"seal_hash"`
	Marks      []byte    `db:"marks"`
}

const (
	sealVersion = 1
	sealColumns = `id, first_event, last_event, sealed_at, events, version, block_hash, previous_hash, seal_hash, marks`

	// sealedColumns is what version 1 hashes of an event: every column, in this
	// order, as a row in the binary format of Postgres.
	sealedColumns = `id, at, request_id, batch_id, attempt, action, actor, from_status, to_status, detail, source_id,
    http_request_id, client, schema_version, biocore_version, input_digest, output_digest, trace_id, span_id`

	// readBlock reads the events with ids from $1 to $2. The schema is named,
	// so that no function elsewhere in a search_path can replace the one that
	// is meant.
	readBlock = `SELECT id, pg_catalog.record_send(ROW(` + sealedColumns + `)) FROM audit_events WHERE id >= $1 AND id <= $2 ORDER BY id`
	// hashBlock returns the ids and the hashes of the first $3 events of
	// readBlock as one value, which costs a third less than the events as rows.
	hashBlock = `
        SELECT pg_catalog.string_agg(pg_catalog.int8send(id) || pg_catalog.sha256(event), ''::bytea ORDER BY id)
        FROM (` + readBlock + ` LIMIT $3) block (id, event)`
)

// computeHash is the hash of a seal over its other fields.
func (s *Seal) computeHash() []byte {
	marks := sha256.Sum256(s.Marks)
	text := fmt.Appendf(nil, "mass audit seal %d\n", s.Version)
	for _, n := range []int64{s.ID, s.FirstEvent, s.LastEvent, int64(s.Events), s.SealedAt.UnixMicro()} {
		text = binary.BigEndian.AppendUint64(text, uint64(n)) //nolint:gosec // two's complement, as documented
	}
	for _, part := range [][]byte{s.Block, marks[:], s.Previous} {
		text = append(text, part...)
	}
	sum := sha256.Sum256(text)
	return sum[:]
}

// genesisHash is what the first seal has as the hash of the seal before it.
func genesisHash() []byte { return make([]byte, sha256.Size) }

// markLength is how much of an event's hash is kept, in bytes, to name an event
// that was changed. The marks only find the place: the proof is the hash of the
// block.
const markLength = 4

// sealBlock hashes events in the order of their ids.
type sealBlock struct {
	hash   hash.Hash
	marks  []byte
	events int
	last   int64
}

func newSealBlock(first int64) *sealBlock {
	b := &sealBlock{hash: sha256.New(), last: first - 1}
	fmt.Fprintf(b.hash, "mass audit block %d\n", sealVersion)
	return b
}

// add returns the mark of the event.
func (b *sealBlock) add(id int64, row []byte) []byte {
	sum := sha256.Sum256(row)
	return b.addHash(id, sum[:])
}

func (b *sealBlock) addHash(id int64, sum []byte) []byte {
	b.hash.Write(sum)
	b.marks = binary.AppendUvarint(b.marks, uint64(id-b.last)) //nolint:gosec // ids come in order
	b.marks = append(b.marks, sum[:markLength]...)
	b.events, b.last = b.events+1, id
	return sum[:markLength]
}

// TrailMark is a place in the sequence of event ids, with the transactions that
// may still be writing events up to it.
type TrailMark struct {
	UpTo    int64
	writers []string  // virtual transactions
	server  time.Time // when Postgres started: the mark means nothing to another run of it
}

// trailWriters finds the transactions that may have drawn an event id without
// the event being visible yet. An INSERT locks the table before it draws an id,
// and the lock lasts until the transaction has ended and is visible to all
// others. Transaction ids are no replacement: a transaction gets one with its
// first write, which comes after nextval.
const trailWriters = `
    FROM pg_locks
    WHERE locktype = 'relation' AND relation = 'audit_events'::regclass AND mode = 'RowExclusiveLock'
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`

// MarkTrail notes the latest event id that was drawn.
func (s *Store) MarkTrail(ctx context.Context) (TrailMark, error) {
	var m TrailMark
	// The id is read before the writers, in a statement of its own: a
	// transaction that begins in between draws a later id.
	err := s.db.GetContext(ctx, &m.UpTo, `SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM audit_events_id_seq`)
	if err == nil {
		err = s.db.QueryRowContext(ctx, `
            SELECT pg_postmaster_start_time(), array(SELECT DISTINCT virtualtransaction `+trailWriters+`)`).
			Scan(&m.server, (*pq.StringArray)(&m.writers))
	}
	return m, wrap("mark the trail", err)
}

// TrailVisible reports whether every event up to the mark is visible to all
// transactions. ErrConflict means that Postgres was restarted after the mark
// was taken, which makes the mark useless.
func (s *Store) TrailVisible(ctx context.Context, m TrailMark) (bool, error) {
	var server time.Time
	var busy bool
	err := s.db.QueryRowContext(ctx, `
        SELECT pg_postmaster_start_time(), EXISTS (SELECT `+trailWriters+` AND virtualtransaction = ANY ($1))`, pq.StringArray(m.writers)).
		Scan(&server, &busy)
	if err == nil && !server.Equal(m.server) {
		return false, wrap("look at a mark of the trail", &ConflictError{Noun: NounMark, Reason: "the server was restarted"})
	}
	return !busy && err == nil, wrap("look at a mark of the trail", err)
}

// SealEvents seals the next events, at most atMost of them, up to an id for
// which TrailVisible was true. ErrNotFound means that there is nothing to seal,
// ErrConflict that the chain changed at the same time, so that the caller should
// try again. A *BrokenTrail means that no seal can follow the newest one.
func (s *Store) SealEvents(ctx context.Context, upTo int64, atMost int) (Seal, error) {
	before, err := s.LastSeal(ctx)
	if err != nil {
		return Seal{}, err
	}
	seal := Seal{ID: before.ID + 1, FirstEvent: before.LastEvent + 1, LastEvent: upTo, Version: sealVersion, Previous: before.Hash}
	act := fmt.Sprintf("seal the trail from event %d", seal.FirstEvent)
	if before.LastEvent > upTo {
		if status, err := s.SealStatus(ctx); err != nil {
			return Seal{}, err
		} else if status.broken != "" {
			return Seal{}, &BrokenTrail{Seal: status.Last.ID, What: status.broken}
		}
		return Seal{}, wrap(act, &ConflictError{Noun: NounSeal, Reason: "the seals have changed since they were read"})
	}
	b := newSealBlock(seal.FirstEvent)
	var hashes []byte
	if err := s.db.GetContext(ctx, &hashes, hashBlock, seal.FirstEvent, upTo, atMost); err != nil {
		return Seal{}, wrap(act, err)
	}
	for event := range slices.Chunk(hashes, 8+sha256.Size) {
		b.addHash(int64(binary.BigEndian.Uint64(event)), event[8:]) //nolint:gosec // it was an int64
	}
	if b.events == 0 {
		return Seal{}, wrap(act, &NotFoundError{Noun: NounSeal})
	}
	if b.events == atMost { // there may be more
		seal.LastEvent = b.last
	}
	if err := s.db.GetContext(ctx, &seal.SealedAt, `SELECT clock_timestamp()`); err != nil {
		return Seal{}, wrap(act, err)
	}
	seal.Events, seal.Block, seal.Marks = b.events, b.hash.Sum(nil), b.marks
	seal.Hash = seal.computeHash()
	res, err := s.db.NamedExecContext(ctx, `
        INSERT INTO audit_seals (`+sealColumns+`)
        VALUES (:id, :first_event, :last_event, :sealed_at, :events, :version, :block_hash, :previous_hash, :seal_hash, :marks)
        ON CONFLICT (id) DO NOTHING`, seal)
	if err != nil {
		return Seal{}, wrap(act, err)
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return Seal{}, wrap(act, &ConflictError{Noun: NounSeal, Reason: "another process sealed these events"})
	}
	return seal, nil
}

// LastSeal returns the newest seal, without its marks. When there is none, it
// returns a Seal with the hash to which the first seal links.
func (s *Store) LastSeal(ctx context.Context) (Seal, error) {
	var list []Seal
	err := s.db.SelectContext(ctx, &list, `
        SELECT id, first_event, last_event, sealed_at, events, version, block_hash, previous_hash, seal_hash
        FROM audit_seals ORDER BY id DESC LIMIT 1`)
	if err != nil {
		return Seal{}, wrap("read the last seal", err)
	}
	if len(list) == 0 {
		return Seal{Hash: genesisHash()}, nil
	}
	return list[0], nil
}

// streamEvents passes the events of a range to f, in the order of their ids.
// The row is valid until f returns.
func (s *Store) streamEvents(ctx context.Context, first, last int64, f func(id int64, row []byte) error) error {
	rows, err := s.db.QueryContext(ctx, readBlock, first, last)
	if err != nil {
		return err
	}
	defer rows.Close()
	var id int64
	var row sql.RawBytes
	for rows.Next() {
		if err := rows.Scan(&id, &row); err != nil {
			return err
		}
		if err := f(id, row); err != nil {
			return err
		}
	}
	return rows.Err()
}

// String is the form in which logs and people write down a seal.
func (s *Seal) String() string {
	return fmt.Sprintf("seal %d (events %d to %d) %s", s.ID, s.FirstEvent, s.LastEvent, hex.EncodeToString(s.Hash))
}

// follows returns what is wrong with the seal or its place in the chain; nil
// when nothing is.
func (s *Seal) follows(before *Seal) *BrokenTrail {
	switch {
	case s.ID != before.ID+1:
		return &BrokenTrail{Seal: before.ID + 1, What: "the seal is missing"}
	case s.Version != sealVersion:
		return &BrokenTrail{Seal: s.ID, What: fmt.Sprintf("the seal is of version %d, which this program does not know", s.Version)}
	case !bytes.Equal(s.Hash, s.computeHash()):
		return &BrokenTrail{Seal: s.ID, What: "the seal was changed: its hash does not match its contents"}
	case !bytes.Equal(s.Previous, before.Hash) || s.FirstEvent != before.LastEvent+1:
		return &BrokenTrail{Seal: s.ID, What: fmt.Sprintf("the seal does not continue seal %d: one of them was replaced", before.ID)}
	}
	return nil
}
