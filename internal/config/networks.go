package config

import (
	"fmt"
	"net/netip"
	"strings"
)

// Networks are ranges of IP addresses.
type Networks []netip.Prefix

// UnmarshalText reads networks such as 10.1.0.0/16 and single addresses, which
// are separated by commas or spaces.
func (n *Networks) UnmarshalText(text []byte) error {
	var list Networks
	for _, word := range splitList(string(text)) {
		prefix, err := netip.ParsePrefix(word)
		if err != nil {
			addr, err := netip.ParseAddr(word)
			if err != nil || addr.Zone() != "" {
				return fmt.Errorf("%q is not a network such as 10.1.0.0/16", word)
			}
			prefix = netip.PrefixFrom(addr, addr.BitLen())
		}
		if prefix.Addr().Is4In6() {
			return fmt.Errorf("%q must be written as IPv4", word)
		}
		list = append(list, prefix.Masked())
	}
	*n = list
	return nil
}

func splitList(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' })
}
