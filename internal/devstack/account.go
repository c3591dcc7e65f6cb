package devstack

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// elsewhere holds the servers' folders of those data folders that the servers'
// account cannot enter. Only root writes there.
const elsewhere = "/var/lib/mass-devstack"

// account is the user that the servers run as; nil means the caller. PostgreSQL
// refuses to run as root.
type account struct {
	name     string
	uid, gid uint32
}

func (a *account) String() string { return a.name }

// serversAccount returns the user `postgres`, or `nobody` if there is no such
// user.
func serversAccount() (*account, error) {
	postgres, err := lookupAccount("postgres")
	if err == nil {
		return postgres, nil
	}
	nobody, nobodyErr := lookupAccount("nobody")
	if nobodyErr == nil {
		return nobody, nil
	}
	return nil, fmt.Errorf("PostgreSQL refuses to run as root, and no other user was found to run it as: %w, %w", err, nobodyErr)
}

func lookupAccount(name string) (*account, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return nil, fmt.Errorf("look up a user: %w", err)
	}
	uid, uidErr := strconv.ParseInt(u.Uid, 10, 64)
	gid, gidErr := strconv.ParseInt(u.Gid, 10, 64)
	if err := errors.Join(uidErr, gidErr); err != nil {
		return nil, fmt.Errorf("read the ids of user %s: %w", name, err)
	}
	return &account{name: name, uid: uint32(uid), gid: uint32(gid)}, nil // some systems give nobody the id -2
}

// owner returns the account that owns an existing folder, or nil if root owns
// it.
func owner(folder string) (*account, error) {
	info, err := os.Stat(folder)
	if err != nil {
		return nil, fmt.Errorf("find the owner of the servers' folder: %w", err)
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || st.Uid == 0 {
		return nil, nil
	}
	return &account{name: fmt.Sprintf("with uid %d", st.Uid), uid: st.Uid, gid: st.Gid}, nil
}

// enter returns an error if the account cannot work in the folder. It enters
// the folder to find out, because mode bits alone do not decide that.
func (a *account) enter(ctx context.Context, folder string) error {
	_, err := run(ctx, a.command(syscall.SIGKILL, folder, "/bin/sh", "-c", ":"))
	return err
}

// own makes the account the owner of the folder and everything in it.
func (a *account) own(folder string) error {
	if a == nil {
		return nil
	}
	return filepath.WalkDir(folder, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, int(a.uid), int(a.gid))
	})
}

// makeEnterable makes the data folder. Other users may pass through it only if
// the caller is root, because the servers' account then has to. An existing
// folder keeps its mode, unless this package made it as a temporary folder.
func makeEnterable(dir string, ours bool) error {
	mode := fs.FileMode(0o700)
	if os.Geteuid() == 0 {
		mode = 0o711
	}
	if _, err := os.Stat(dir); err == nil && !ours {
		return nil
	}
	if err := os.MkdirAll(dir, mode); err != nil {
		return err
	}
	return os.Chmod(dir, mode) // the umask may have removed bits
}

// serversFolder makes or finds the folder `servers` in a data folder, and
// returns it with the account that owns it. The owner of an existing folder
// stays the servers' account.
func serversFolder(ctx context.Context, dataDir string, logger *slog.Logger) (string, *account, error) {
	folder := filepath.Join(dataDir, "servers")
	if _, err := os.Stat(folder); errors.Is(err, fs.ErrNotExist) {
		_ = os.Remove(folder) // a dangling link
	}
	if err := os.Mkdir(folder, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", nil, fmt.Errorf("make the servers' folder: %w", err)
	}
	if os.Geteuid() != 0 {
		return folder, nil, nil
	}
	acct, err := owner(folder)
	if err == nil && acct == nil {
		if acct, err = serversAccount(); err == nil {
			err = os.Chown(folder, int(acct.uid), int(acct.gid))
		}
	}
	if err != nil {
		return "", nil, fmt.Errorf("choose the user to run the servers as: %w", err)
	}
	if folder, err = filepath.EvalSymlinks(folder); err != nil {
		return "", nil, fmt.Errorf("find the servers' folder: %w", err)
	}
	enterErr := acct.enter(ctx, folder)
	if enterErr == nil {
		return folder, acct, nil
	}
	other, err := moveElsewhere(ctx, folder, acct)
	if err != nil {
		return "", nil, fmt.Errorf("PostgreSQL refuses to run as root, and user %s cannot enter %s: %w, %w; choose a data folder that "+
			"every user can enter, such as MASS_DATA_DIR=/var/lib/mass", acct, folder, enterErr, err)
	}
	logger.Info("server data is kept in another folder, because the servers' user cannot enter the data folder",
		"user", acct.name, "data_dir", dataDir, "folder", other)
	return other, acct, nil
}

// moveElsewhere replaces the servers' folder, if it is empty, with a link to a
// new folder that the account can enter. A link next to the new folder points
// back, so that later calls can remove folders whose data folder is gone.
func moveElsewhere(ctx context.Context, folder string, acct *account) (string, error) {
	if err := os.MkdirAll(elsewhere, 0o711); err != nil {
		return "", err
	}
	backLinks, err := filepath.Glob(filepath.Join(elsewhere, "*.of"))
	if err != nil {
		return "", err
	}
	for _, back := range backLinks {
		other := back[:len(back)-len(".of")]
		if link, err := os.Readlink(back); err == nil {
			if target, err := os.Readlink(link); err != nil || target != other {
				_ = errors.Join(os.RemoveAll(other), os.Remove(back))
			}
		}
	}
	if err := os.Remove(folder); err != nil { // fails if the folder contains data
		return "", err
	}
	other, err := os.MkdirTemp(elsewhere, "servers-")
	if err != nil {
		return "", err
	}
	err = errors.Join(os.Chown(other, int(acct.uid), int(acct.gid)), acct.enter(ctx, other))
	if err == nil {
		err = errors.Join(os.Symlink(other, folder), os.Symlink(folder, other+".of"))
	}
	if err != nil {
		return "", errors.Join(err, os.RemoveAll(other))
	}
	return other, nil
}

// sweepTemporary removes temporary data folders that killed processes left
// behind.
func sweepTemporary(logger *slog.Logger) {
	found, err := filepath.Glob(filepath.Join(os.TempDir(), temporaryPattern))
	if err != nil {
		return
	}
	for _, dir := range found {
		info, err := os.Lstat(dir)
		if err != nil || !info.IsDir() || time.Since(info.ModTime()) < time.Minute { // the folder may not be locked yet
			continue
		}
		if st, ok := info.Sys().(*syscall.Stat_t); !ok || int(st.Uid) != os.Geteuid() {
			continue
		}
		lock, err := tryLock(filepath.Join(dir, "lock"))
		if err != nil {
			continue
		}
		logger.Debug("removing the data folder of a killed process", "folder", dir)
		if servers, err := filepath.EvalSymlinks(filepath.Join(dir, "servers")); err == nil {
			detachMounts(servers)
			_ = os.RemoveAll(servers)
		}
		_ = errors.Join(os.RemoveAll(dir), unlock(lock))
	}
}
