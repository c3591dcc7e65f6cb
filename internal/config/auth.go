package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/leomutto/pilot-in-a-box/internal/auth"
)

// Auth is about how callers of the API identify themselves.
type Auth struct {
	Mode        string // "on" or "off"
	Secret      string
	Keys        string
	Issuer      string
	Audience    string
	AccessTTL   time.Duration
	RefreshTTL  time.Duration
	SessionTTL  time.Duration
	SessionIdle time.Duration
	KeyMaxAge   time.Duration

	LoginTries        int
	LoginEvery        time.Duration
	AddressLoginTries int
	AddressLoginEvery time.Duration
}

// Off reports whether authentication is disabled.
func (a *Auth) Off() bool { return a.Mode == "off" }

func (a *Auth) settings() []setting {
	return []setting{{
		value: &a.Mode, env: "MASS_AUTH", usedBy: "api dev", def: "on", oneof: []string{"on", "off"},
		help: "off disables authentication and makes every caller an admin; it requires that MASS_ADDR is a loopback " +
			"address, and is meant for benchmarks and for a proxy on the same host that authenticates callers; while it is off, " +
			"requests must name a loopback address or localhost in their Host header, and users, passwords and API keys cannot be changed over HTTP",
	}, {
		value: &a.Secret, env: "MASS_AUTH_SECRET", usedBy: "api dev", secret: true,
		help: "secret that signs access tokens (HS256), of at least 32 bytes, for example from openssl rand -hex 32; " +
			"to rotate it, set several, separated by spaces: the first one signs, all of them verify; " +
			"required unless MASS_AUTH_KEYS is set, but mass dev makes its own",
	}, {
		value: &a.Keys, env: "MASS_AUTH_KEYS", usedBy: "api dev",
		help: "PEM files with Ed25519 or RSA keys, or directories of such files, separated by commas; " +
			"the last private key in order of name signs access tokens, the others verify",
	}, {
		value: &a.Issuer, env: "MASS_AUTH_ISSUER", usedBy: "api dev", def: "mass",
		help: "issuer (iss) of access tokens; tokens of other issuers are refused",
	}, {
		value: &a.Audience, env: "MASS_AUTH_AUDIENCE", usedBy: "api dev", def: "mass",
		help: "audience (aud) of access tokens; tokens for other audiences are refused",
	}, {
		value: &a.AccessTTL, env: "MASS_ACCESS_TTL", usedBy: "api dev", def: "10m", min: "10s", max: "24h",
		help: "how long an access token is valid",
	}, {
		value: &a.RefreshTTL, env: "MASS_REFRESH_TTL", usedBy: "api dev", def: "168h", min: "1m",
		help: "how long the tokens of a login can be refreshed",
	}, {
		value: &a.SessionTTL, env: "MASS_SESSION_TTL", usedBy: "api dev", def: "12h", min: "1m",
		help: "how long a browser stays logged in at most",
	}, {
		value: &a.SessionIdle, env: "MASS_SESSION_IDLE", usedBy: "api dev", def: "1h", min: "5m",
		help: "how long a browser stays logged in without sending a request",
	}, {
		value: &a.LoginTries, env: "MASS_LOGIN_TRIES", usedBy: "api dev", def: "10", min: "1",
		help: "attempts to log in to one account before further ones have to wait",
	}, {
		value: &a.LoginEvery, env: "MASS_LOGIN_EVERY", usedBy: "api dev", def: "30s", min: "1ms",
		help: "time after which an account allows one more attempt to log in",
	}, {
		value: &a.AddressLoginTries, env: "MASS_ADDRESS_LOGIN_TRIES", usedBy: "api dev", def: "60", min: "1",
		help: "attempts to log in, to any account, from one IPv4 address or IPv6 /64 network before further ones have to wait",
	}, {
		value: &a.AddressLoginEvery, env: "MASS_ADDRESS_LOGIN_EVERY", usedBy: "api dev", def: "1s", min: "1ms",
		help: "time after which an address allows one more attempt to log in",
	}, {
		value: &a.KeyMaxAge, env: "MASS_KEY_MAX_AGE", usedBy: "api dev key", def: "0s",
		help: "longest life of a new API key, which is also the life of a key that is created without an expiry; 0 means no limit",
	}}
}

func (a *Auth) check(command, addr string) error {
	if a.Off() {
		if !isLoopback(addr) {
			return fmt.Errorf("MASS_AUTH is off, so MASS_ADDR must be a loopback address such as 127.0.0.1:8000, "+
				"not %q: every caller who reaches it is an admin", addr)
		}
		return nil
	}
	if a.Secret == "" && a.Keys == "" {
		if command == "dev" { // mass dev makes a secret of its own
			return nil
		}
		return errors.New("neither MASS_AUTH_SECRET nor MASS_AUTH_KEYS is set")
	}
	if _, err := auth.LoadKeyring(a.Secret, a.Keys); err != nil {
		return fmt.Errorf("MASS_AUTH_SECRET and MASS_AUTH_KEYS: %w", err)
	}
	return nil
}

// isLoopback reports whether only this machine can reach an address to listen on.
func isLoopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}
