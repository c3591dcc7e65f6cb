package figures_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/internal/figures"
	"github.com/leomutto/pilot-in-a-box/internal/systemtest"
)

func TestMain(m *testing.M) { systemtest.Main(m) }

func TestSitesAreListedInPages(t *testing.T) {
	t.Parallel()
	d := systemtest.NewDatabase(t)
	_, err := d.DB.ExecContext(t.Context(), `INSERT INTO sites (site_id) VALUES ('c'), ('a'), ('b')`)
	require.NoError(t, err)
	f := figures.New(d.Store, time.Minute)
	page, err := f.Sites(t.Context(), &figures.SitesInput{Limit: 2})
	require.NoError(t, err)
	require.Len(t, page.Body.Items, 2)
	assert.Equal(t, "a", page.Body.Items[0].ID)
	assert.True(t, page.Body.Items[0].ZoneAssumed)
	require.NotNil(t, page.Body.Next)
	assert.Equal(t, "/sites?after=b&limit=2", *page.Body.Next)
	page, err = f.Sites(t.Context(), &figures.SitesInput{Limit: 2, After: "b"})
	require.NoError(t, err)
	require.Len(t, page.Body.Items, 1)
	assert.Nil(t, page.Body.Next)
}
