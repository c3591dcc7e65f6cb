package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/leomutto/pilot-in-a-box/internal/auth"
)

func (c *Config) checkAuth(command string) error {
	if c.Auth == "off" {
		if !loopback(c.Addr) {
			return fmt.Errorf("MASS_AUTH is off, so MASS_ADDR must be a loopback address such as 127.0.0.1:8000, not %q: everybody who reaches it is an admin", c.Addr)
		}
		return nil
	}
	if c.AuthSecret == "" && c.AuthKeys == "" {
		if command == "dev" { // it makes a secret of its own
			return nil
		}
		return errors.New("neither MASS_AUTH_SECRET nor MASS_AUTH_KEYS is set")
	}
	if _, err := auth.LoadKeyring(c.AuthSecret, c.AuthKeys); err != nil {
		return fmt.Errorf("MASS_AUTH_SECRET and MASS_AUTH_KEYS: %w", err)
	}
	return nil
}

// loopback tells whether only this machine reaches an address to listen on.
func loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}
