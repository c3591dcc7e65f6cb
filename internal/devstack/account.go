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

// elsewhere holds the servers' folders of data folders where the servers' account cannot go. Only root writes there.
const elsewhere = "/var/lib/mass-devstack"

// account is the user that the servers run as; nil is the caller. PostgreSQL refuses to run as root.
type account struct {
	name     string
	uid, gid uint32
}

func (a *account) String() string { return a.name }

// serversAccount is `postgres` or else `nobody`.
func serversAccount() (*account, error) {
	postgres, err := lookupAccount("postgres")
	if err == nil {
		return postgres, nil
	}
	nobody, nobodyErr := lookupAccount("nobody")
	if nobodyErr == nil {
		return nobody, nil
	}
	return nil, fmt.Errorf("PostgreSQL does not run as root, and there is no user to run it as: %w, %w", err, nobodyErr)
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
	return &account{name: name, uid: uint32(uid), gid: uint32(gid)}, nil // some systems write -2 for nobody's
}

// owner is the account that owns an existing folder; nil when that is root.
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

// enter fails when the account may not work in the folder. It tries, because mode bits do not tell the whole truth.
func (a *account) enter(ctx context.Context, folder string) error {
	_, err := run(ctx, a.command(syscall.SIGKILL, folder, "/bin/sh", "-c", ":"))
	return err
}

// own gives the folder and all in it to the account.
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

// makeEnterable makes the data folder. Others may pass through it only as far as the servers' account needs that, which
// is when the caller is root; a folder that is there already keeps its mode, unless it is ours (a temporary one).
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
	return os.Chmod(dir, mode) // the umask may have taken too much
}

// serversFolder makes, or finds, the folder `servers` of a data folder, and tells which account it belongs to. The
// account that owns an existing one stays the servers' account.
func serversFolder(ctx context.Context, dataDir string, logger *slog.Logger) (string, *account, error) {
	folder := filepath.Join(dataDir, "servers")
	if _, err := os.Stat(folder); errors.Is(err, fs.ErrNotExist) {
		_ = os.Remove(folder) // a link to nowhere
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
		return "", nil, fmt.Errorf("PostgreSQL does not run as root, and user %s cannot enter %s: %w, %w; choose a data folder that "+
			"every user can reach, such as MASS_DATA_DIR=/var/lib/mass", acct, folder, enterErr, err)
	}
	logger.Info("the servers' data are kept elsewhere, because their user cannot enter the data folder",
		"user", acct.name, "data_dir", dataDir, "folder", other)
	return other, acct, nil
}

// moveElsewhere replaces the servers' folder, if it is empty, by a link to a new one that the account can enter. Beside
// that one lies a link back, by which folders are found whose data folder was removed.
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
	if err := os.Remove(folder); err != nil { // fails if there are data in it
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

// sweepTemporary removes the temporary data folders of processes that were killed before they could.
func sweepTemporary(logger *slog.Logger) {
	found, err := filepath.Glob(filepath.Join(os.TempDir(), temporaryPattern))
	if err != nil {
		return
	}
	for _, dir := range found {
		info, err := os.Lstat(dir)
		if err != nil || !info.IsDir() || time.Since(info.ModTime()) < time.Minute { // it may not be locked yet
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
			_ = os.RemoveAll(servers)
		}
		_ = errors.Join(os.RemoveAll(dir), unlock(lock))
	}
}
