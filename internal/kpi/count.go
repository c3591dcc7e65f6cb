package kpi

import (
	"cmp"
	"slices"
	"time"
)

// State says whether a reading counts, and if not, why.
type State string

// The states of a reading.
const (
	Counts     State = "counts"          // for all of its window
	InPart     State = "counts in part"  // for a part of its window
	Replaced   State = "replaced"        // by a later reading of the same window
	Superseded State = "superseded"      // other readings count for all of its window
	BesideSite State = "beside its site" // a cluster's reading, while the site has readings of its own
)

// Counted is for what time a reading counts.
type Counted struct {
	Asset, Site   []Range // for the asset itself and for its site, in order and apart from each other
	OfAsset, Seen State   // the same as states: for the asset and for the site
}

// Count decides which readings of one site count, so that each instant of an
// asset counts once, whatever the order of arrival:
//
//   - of two readings of the same window, the one accepted later;
//   - of two windows of which one lies inside the other, the finer one, and the
//     coarser one for the rest of its time, at its average power;
//   - of two windows that overlap in part, the one accepted later, and the other
//     for what is left of it.
//
// For the site, its own readings count. Those of its clusters count for the time
// in which the site has none of its own, and are then added up. The result has
// the order of the readings.
//
// The time it takes grows with the square of the number of different windows of
// one asset that overlap.
func Count(readings []Reading) []Counted {
	result := make([]Counted, len(readings))
	assets := map[Asset][]int{} // without what is replaced
	for window, i := range latest(readings) {
		assets[window.Asset] = append(assets[window.Asset], i)
	}
	var own []Range // time in which the site has readings of its own
	for asset, members := range assets {
		countAsset(readings, members, result)
		for _, i := range members {
			result[i].OfAsset = stateOf(result[i].Asset, readings[i].Window())
			if asset.OfSite() {
				own = append(own, result[i].Asset...)
			}
		}
	}
	own = Union(own)
	for i := range readings {
		c := &result[i]
		if c.OfAsset == "" {
			c.OfAsset = Replaced
		}
		c.Site, c.Seen = c.Asset, c.OfAsset
		if !readings[i].OfSite() && len(c.Asset) > 0 {
			c.Site = Without(c.Asset, own)
			switch {
			case len(c.Site) == 0:
				c.Seen = BesideSite
			case !slices.EqualFunc(c.Site, c.Asset, Range.Equal):
				c.Seen = InPart
			}
		}
	}
	return result
}

// assetWindow is a window of an asset, in microseconds since 1970.
type assetWindow struct {
	Asset
	from, to int64
}

// latest finds the reading of each window of each asset that was accepted last.
// The others can count at no instant.
func latest(readings []Reading) map[assetWindow]int {
	found := make(map[assetWindow]int, len(readings))
	for i := range readings {
		r := &readings[i]
		window := assetWindow{r.Asset, r.From.UnixMicro(), r.To.UnixMicro()}
		if k, ok := found[window]; !ok || later(r, &readings[k]) {
			found[window] = i
		}
	}
	return found
}

func stateOf(parts []Range, window Range) State {
	switch {
	case len(parts) == 1 && parts[0].Equal(window):
		return Counts
	case len(parts) > 0:
		return InPart
	}
	return Superseded
}

// later reports whether a was accepted after b.
func later(a, b *Reading) bool {
	return cmp.Or(a.Accepted.Compare(b.Accepted), cmp.Compare(a.RequestID, b.RequestID)) > 0
}

// countAsset sweeps over readings of one asset with different windows in the
// order of time. Between two neighboring ends of windows the set of readings does
// not change, and one of them counts.
func countAsset(readings []Reading, members []int, result []Counted) {
	ends := make([]time.Time, 0, 2*len(members))
	for _, i := range members {
		ends = append(ends, readings[i].From, readings[i].To)
	}
	slices.SortFunc(ends, time.Time.Compare)
	ends = slices.CompactFunc(ends, time.Time.Equal)
	waiting := slices.SortedFunc(slices.Values(members), func(a, b int) int {
		return cmp.Or(readings[a].From.Compare(readings[b].From), readings[b].To.Compare(readings[a].To))
	})
	var active []int // in the order of waiting
	for k := 0; k+1 < len(ends); k++ {
		span := Range{From: ends[k], To: ends[k+1]}
		active = slices.DeleteFunc(active, func(i int) bool { return !readings[i].To.After(span.From) })
		for len(waiting) > 0 && !readings[waiting[0]].From.After(span.From) {
			active = append(active, waiting[0])
			waiting = waiting[1:]
		}
		if i, ok := counting(readings, active); ok {
			result[i].Asset = appendRange(result[i].Asset, span)
		}
	}
}

// counting chooses among readings that are about the same instant: of those that
// have no finer one inside them, the one accepted last. They have different
// windows, in the order of their beginnings, and of the same beginning the longer
// one first: the windows inside of one come behind it.
func counting(readings []Reading, active []int) (chosen int, ok bool) {
	var earliestEnd time.Time // of the windows behind; zero: there are none
	for _, i := range slices.Backward(active) {
		r := &readings[i]
		if coarse := !earliestEnd.IsZero() && !earliestEnd.After(r.To); coarse {
			continue
		}
		earliestEnd = r.To
		if !ok || later(r, &readings[chosen]) {
			chosen, ok = i, true
		}
	}
	return chosen, ok
}

// Equal reports whether both ranges have the same ends.
func (r Range) Equal(other Range) bool { return r.From.Equal(other.From) && r.To.Equal(other.To) }

// appendRange adds a range that begins at or after the end of the last one.
func appendRange(list []Range, r Range) []Range {
	if n := len(list); n > 0 && list[n-1].To.Equal(r.From) {
		list[n-1].To = r.To
		return list
	}
	return append(list, r)
}

// Union returns the time that any of the ranges covers, as ranges in order that
// neither overlap nor touch.
func Union(list []Range) []Range {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b Range) int { return a.From.Compare(b.From) })
	var result []Range
	for _, r := range list {
		switch n := len(result); {
		case r.Empty():
		case n > 0 && !r.From.After(result[n-1].To):
			if r.To.After(result[n-1].To) {
				result[n-1].To = r.To
			}
		default:
			result = append(result, r)
		}
	}
	return result
}

// Without returns the time of list that no range of taken covers. Both are as
// Union returns them.
func Without(list, taken []Range) []Range {
	var result []Range
	for _, r := range list {
		first, _ := slices.BinarySearchFunc(taken, r.From, func(t Range, at time.Time) int {
			if t.To.After(at) {
				return 1
			}
			return -1
		})
		for _, t := range taken[first:] {
			if !t.From.Before(r.To) {
				break
			}
			if t.From.After(r.From) {
				result = append(result, Range{From: r.From, To: t.From})
			}
			r.From = t.To
			if r.Empty() {
				break
			}
		}
		if !r.Empty() {
			result = append(result, r)
		}
	}
	return result
}
