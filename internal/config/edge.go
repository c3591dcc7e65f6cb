package config

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"

	"github.com/leomutto/pilot-in-a-box/internal/webhook"
)

// Proxies returns the networks of TrustedProxies.
func (c *Config) Proxies() ([]netip.Prefix, error) {
	nets, err := webhook.ParseNets(c.TrustedProxies)
	if err != nil {
		return nil, fmt.Errorf("MASS_TRUSTED_PROXIES: %w", err)
	}
	return nets, nil
}

// Origins returns the origins of CORSOrigins, as browsers write them.
func (c *Config) Origins() ([]string, error) {
	var list []string
	for _, word := range strings.FieldsFunc(c.CORSOrigins, func(r rune) bool { return r == ',' || r == ' ' }) {
		u, err := url.Parse(word)
		if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.Scheme+"://"+u.Host != word || strings.ToLower(word) != word {
			return nil, fmt.Errorf("MASS_CORS_ORIGINS: %q is not an origin such as https://app.example.com", word)
		}
		list = append(list, word)
	}
	return list, nil
}

// checkEdge reports what is wrong with the settings of the HTTP edge.
func (c *Config) checkEdge() error {
	var errs []error
	if (c.TLSCert == "") != (c.TLSKey == "") {
		errs = append(errs, errors.New("MASS_TLS_CERT and MASS_TLS_KEY go together; only one of them is set"))
	}
	_, err := c.Proxies()
	errs = append(errs, err)
	_, err = c.Origins()
	return errors.Join(append(errs, err)...)
}
