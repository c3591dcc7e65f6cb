package doctor

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/leomutto/pilot-in-a-box/jobs/queue"
)

func TestClocksAreComparedWithinTheTimeOfTheExchange(t *testing.T) {
	t.Parallel()
	begun := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		took, skew time.Duration
		want       Level
	}{
		{0, 0, OK},
		{0, 900 * time.Millisecond, OK},
		{0, -900 * time.Millisecond, OK},
		{0, 1100 * time.Millisecond, Warn},
		{0, -1100 * time.Millisecond, Warn},
		{4 * time.Second, 2500 * time.Millisecond, OK}, // the exchange took too long to say
		{0, 2 * time.Minute, Fail},
		{0, -2 * time.Hour, Fail},
	} {
		f := clock("x", begun, c.took, begun.Add(c.took/2+c.skew))
		assert.Equal(t, c.want, f.Level, "%+v: %s", c, f.Detail)
		assert.Equal(t, c.want != OK, f.Advice != "")
	}
}

func TestConnections(t *testing.T) {
	t.Parallel()
	assert.Equal(t, OK, connections(10, 97, 16).Level)
	assert.Equal(t, Warn, connections(90, 97, 16).Level)
	assert.Equal(t, Warn, connections(1, 20, 16).Level)
}

func TestPasswordsAreHushed(t *testing.T) {
	t.Parallel()
	p := &Patient{DatabaseURL: "postgres://u:s3cret@h/d?password=other", RedisAddr: queue.Address{Password: "third"}}
	text := p.hush("cannot parse postgres://u:s3cret@h/d?password=other: s3cret, other, third")
	for _, secret := range []string{"s3cret", "other", "third"} {
		assert.NotContains(t, text, secret)
	}
	assert.Equal(t, "nothing to hide", (&Patient{}).hush("nothing to hide"))
}

func TestWorst(t *testing.T) {
	t.Parallel()
	assert.Equal(t, OK, Worst(nil))
	assert.Equal(t, Warn, Worst([]Finding{{Level: OK}, {Level: Warn}, {Level: OK}}))
	assert.Equal(t, Fail, Worst([]Finding{{Level: Fail}, {Level: Warn}}))
}
