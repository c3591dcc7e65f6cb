package devfault

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/leomutto/pilot-in-a-box/internal/devstack"
)

// ErrNoDisk means that this process cannot make a small disk: that takes Linux
// and the right to mount a file system, which root usually has.
var ErrNoDisk = errors.New("a small disk (tmpfs) takes Linux and the right to mount one")

// Disk is a small file system in memory that can be filled.
type Disk struct {
	path string
	size int64
}

// NewDisk mounts a file system with the given size in bytes. It uses only as
// much memory as it holds files. The error is ErrNoDisk where that is not
// possible.
func NewDisk(f *devstack.Folder, name string, size int64) (*Disk, error) {
	path, err := f.MakeDir(name)
	if err != nil {
		return nil, err
	}
	d := &Disk{path: path, size: size}
	if err := mountMemory(path, size); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoDisk, err)
	}
	f.Cleanup(func() error { return unmount(path) })
	return d, f.Own(path)
}

// CheckDisk returns ErrNoDisk where this process cannot make a disk.
func CheckDisk() error {
	dir, err := os.MkdirTemp("", "devfault-disk-")
	if err != nil {
		return fmt.Errorf("make a folder to mount a disk in: %w", err)
	}
	if err := mountMemory(dir, 1<<20); err != nil {
		return errors.Join(fmt.Errorf("%w: %w", ErrNoDisk, err), os.Remove(dir))
	}
	return errors.Join(unmount(dir), os.Remove(dir))
}

// Path is the folder in which the file system is mounted.
func (d *Disk) Path() string { return d.path }

// Fill shrinks the file system to what it holds, so that nothing more can be
// written to it.
func (d *Disk) Fill() error {
	var err error
	for range 100 { // a write meanwhile needs more
		var used int64
		if used, err = usedBytes(d.path); err != nil {
			return err
		}
		if err = resizeMemory(d.path, used); err == nil {
			return nil
		}
	}
	return fmt.Errorf("fill the disk: %w", err)
}

// Free gives the file system its full size again.
func (d *Disk) Free() error { return resizeMemory(d.path, d.size) }

// SmallPostgres is a PostgreSQL on a Disk.
type SmallPostgres struct {
	*devstack.Server
	Disk *Disk

	folder *devstack.Folder
}

// StartSmallPostgres starts a PostgreSQL whose data folder is on a disk of the
// given size.
func StartSmallPostgres(ctx context.Context, f *devstack.Folder, size int64, settings ...string) (*SmallPostgres, error) {
	disk, err := NewDisk(f, "small-disk", size)
	if err != nil {
		return nil, err
	}
	p := &SmallPostgres{Disk: disk, folder: f}
	data := filepath.Join(disk.Path(), "postgres")
	if err := f.InitPostgres(ctx, data); err != nil {
		return nil, err
	}
	settings = append([]string{"max_wal_size=64MB", "min_wal_size=32MB"}, settings...)
	p.Server, err = f.StartPostgres(ctx, "postgres-small", data, 0, settings...)
	return p, err
}

// DatabaseURL is the URL of the database `mass`.
func (p *SmallPostgres) DatabaseURL() string { return p.folder.PostgresURL(p.Addr()) }

// Free gives the disk its full size again, and starts PostgreSQL if the full
// disk has ended it, as it does when no WAL can be written.
func (p *SmallPostgres) Free(ctx context.Context) error {
	if err := p.Disk.Free(); err != nil {
		return err
	}
	if p.Running() && p.folder.PingPostgres(ctx, p.Port()) == nil {
		return nil
	}
	return p.Restart(ctx)
}
