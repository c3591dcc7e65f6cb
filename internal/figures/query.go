package figures

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/leomutto/pilot-in-a-box/internal/kpi"
	"github.com/leomutto/pilot-in-a-box/internal/web"
)

// Path is where the sites are.
const Path = "/sites"

// maxMicro is the last instant of the year 9998, the last one of readings.
const maxMicro = 253_370_764_799_999_999

var errNoKey = errors.New("is not where a page ended; take the path of next as it is")

func nextSites(limit int, last string) string {
	return Path + "?" + url.Values{"limit": {strconv.Itoa(limit)}, "after": {last}}.Encode()
}

// LoadZone returns an IANA time zone. The names that stand for the zone of the
// server are refused: they mean something else on each machine.
func LoadZone(name string) (*time.Location, error) {
	if name == "" || strings.EqualFold(name, "local") {
		return nil, errors.New("must be an IANA time zone, such as Europe/Oslo or UTC")
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		return nil, errors.New("must be an IANA time zone, such as Europe/Oslo or UTC")
	}
	return zone, nil
}

func asRangeError(err error, target **kpi.RangeError) bool { return errors.As(err, target) }

// stamp is an instant on the clock of a zone.
func stamp(at time.Time, zone *time.Location) string { return at.In(zone).Format(time.RFC3339Nano) }

func share(part, whole float64) float64 {
	if whole <= 0 {
		return 0
	}
	return min(100, 100*part/whole)
}

// defaultMetrics are the figures of a trend that names none.
var defaultMetrics = []string{"pue", "facility_energy_kwh", "it_energy_kwh"}

func definitionsOf(names []string) ([]kpi.KPI, error) {
	if len(names) == 0 {
		names = defaultMetrics
	}
	list := make([]kpi.KPI, len(names))
	for i, name := range names {
		k, ok := kpi.Named(name)
		if !ok {
			return nil, web.InvalidParameter("metric", fmt.Sprintf("%q is not the name of a figure; /kpis lists them", web.Printable(name)))
		}
		list[i] = k
	}
	return list, nil
}

// bucketOf returns the bucket with a name, or the one that suits a range.
func bucketOf(name string, r kpi.Range) kpi.Bucket {
	if b, ok := kpi.BucketNamed(name); ok {
		return b
	}
	return kpi.AutoBucket(r)
}

// errTooFine: the question has no answer in raw intervals, and may have one in
// longer ones.
var errTooFine = errors.New("too fine")

// tooFine is the problem of a bucket that is too fine.
func tooFine(reason string) error {
	p := web.InvalidParameter("bucket", reason)
	p.Cause = errTooFine
	return p
}

func isTooFine(err error) bool {
	var p *web.Problem
	return errors.As(err, &p) && errors.Is(p.Cause, errTooFine)
}
