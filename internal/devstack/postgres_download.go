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

// downloadPostgres fetches the binaries that fit the existing cluster (major ""
// is the newest) into the servers' folder, unless they are there.
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

// fetchPostgres uses embedded-postgres only to download PostgreSQL, because
// that library cannot run a server as another user. The library has no function
// that only downloads. Its start downloads and unpacks first, then makes a
// runtime folder, and then calls initdb, which fails on purpose because
// fetchPostgres asks for an unknown encoding. The runtime folder exists only if
// everything was unpacked. The archive stays in ~/.embedded-postgres-go for the
// next data folder.
func fetchPostgres(ctx context.Context, h *home, url string, version embeddedpostgres.PostgresVersion, folder string) error {
	scratch, err := os.MkdirTemp(h.servers, "download-")
	if err != nil {
		return fmt.Errorf("make a folder for the download: %w", err)
	}
	port, err := freePort() // the library checks the port but does not use it
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
	go func() { // the library takes no context
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
