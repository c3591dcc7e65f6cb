package devstack

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	embeddedpostgres "github.com/fergusstrange/embedded-postgres"
)

// downloadable has the newest PostgreSQL first.
func downloadable() []embeddedpostgres.PostgresVersion {
	return []embeddedpostgres.PostgresVersion{
		embeddedpostgres.V18, embeddedpostgres.V17, embeddedpostgres.V16, embeddedpostgres.V15, embeddedpostgres.V14,
	}
}

func repository(url string) string { return cmp.Or(url, "https://repo1.maven.org/maven2") }

// downloadPostgres fetches the binaries that fit the existing cluster (major "" is the newest) into the servers' folder,
// unless they are there.
func downloadPostgres(ctx context.Context, h *home, url, major string) (binaries, error) {
	for _, version := range downloadable() {
		b := binaries{version: string(version)}
		if major != "" && b.major() != major {
			continue
		}
		folder := filepath.Join(h.servers, "postgresql-"+b.version)
		b.dir = filepath.Join(folder, "bin")
		if isFile(filepath.Join(b.dir, "postgres")) {
			return b, nil
		}
		return b, fetchPostgres(ctx, h, url, version, folder)
	}
	return binaries{}, fmt.Errorf("there is no download of PostgreSQL %s, which made the data in %s", major, h.dir)
}

// fetchPostgres uses embedded-postgres for the download only, because it cannot run a server as another user. It has
// no call for that. But it downloads and unpacks first, then makes its runtime folder, then calls initdb, which refuses
// the encoding we ask for; and only an existing runtime folder says that everything was unpacked. The archive stays in
// ~/.embedded-postgres-go for the next data folder.
func fetchPostgres(ctx context.Context, h *home, url string, version embeddedpostgres.PostgresVersion, folder string) error {
	scratch, err := os.MkdirTemp(h.servers, "download-")
	if err != nil {
		return fmt.Errorf("make a folder for the download: %w", err)
	}
	port, err := freePort() // checked by it, not used
	if err != nil {
		return err
	}
	unpacked, runtime := filepath.Join(scratch, "unpacked"), filepath.Join(scratch, "runtime")
	db := embeddedpostgres.NewDatabase(embeddedpostgres.DefaultConfig().
		Version(version).
		BinaryRepositoryURL(repository(url)).
		BinariesPath(unpacked).
		RuntimePath(runtime).
		DataPath(filepath.Join(scratch, "data")).
		Encoding("none, this is only a download").
		Port(uint32(port)).
		Logger(io.Discard))

	done := make(chan error, 1)
	go func() { // it takes no context
		err := db.Start()
		if err == nil {
			err = errors.Join(errors.New("a server was started by mistake"), db.Stop())
		}
		if _, statErr := os.Stat(runtime); statErr == nil {
			err = errors.Join(os.Rename(unpacked, folder), h.account.own(folder))
		}
		done <- errors.Join(err, os.RemoveAll(scratch))
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("download PostgreSQL: %w", ctx.Err())
	}
}
