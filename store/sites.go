package store

import (
	"context"
	"time"

	"github.com/jmoiron/sqlx"
)

// Site is a site of which there are readings.
type Site struct {
	ID          string    `db:"site_id"`
	Zone        string    `db:"zone"` // IANA time zone
	ZoneAssumed bool      `db:"zone_assumed"`
	FirstSeenAt time.Time `db:"first_seen_at"`
}

// Sites returns up to limit sites behind a site id, in the order of their ids.
func (s *Store) Sites(ctx context.Context, behind string, limit int) ([]Site, error) {
	var list []Site
	err := s.db.SelectContext(ctx, &list, `
        SELECT site_id, zone, zone_assumed, first_seen_at FROM sites WHERE site_id > $1 ORDER BY site_id LIMIT $2`, behind, limit)
	return list, wrap("list sites", err)
}

// Site returns a site, or ErrNotFound.
func (s *Store) Site(ctx context.Context, id string) (Site, error) {
	var site Site
	err := s.db.GetContext(ctx, &site, `SELECT site_id, zone, zone_assumed, first_seen_at FROM sites WHERE site_id = $1`, id)
	return site, wrap("look up a site", notFound(NounSite, err))
}

// SetSiteZone says in which IANA time zone a site is, or returns ErrNotFound. It
// is recorded in the trail.
func (s *Store) SetSiteZone(ctx context.Context, id, zone string, by Origin) error {
	return s.transact(ctx, "set the zone of a site", func(tx *sqlx.Tx) error {
		var before string
		err := tx.GetContext(ctx, &before, `SELECT zone FROM sites WHERE site_id = $1 FOR UPDATE`, id)
		if err != nil {
			return notFound(NounSite, err)
		}
		if _, err := tx.ExecContext(ctx, `UPDATE sites SET zone = $2, zone_assumed = false WHERE site_id = $1`, id, zone); err != nil {
			return err
		}
		if zone != before {
			if err := dropRollups(ctx, tx, id); err != nil {
				return err
			}
		}
		return appendEvent(ctx, tx, by, "site_zone", id+" from "+before+" to "+zone)
	})
}
