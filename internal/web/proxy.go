package web

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// sourceOf returns the address that a request comes from, and whether it came
// over TLS. Only trusted proxies are believed: each of them appends the address
// that it saw to X-Forwarded-For, so the list is read backward up to the first
// address that is not a trusted proxy. The client may have made up everything
// before that one.
func sourceOf(r *http.Request, trusted []netip.Prefix) (client string, overTLS bool) {
	overTLS = r.TLS != nil
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr, overTLS
	}
	if len(trusted) == 0 {
		return host, overTLS
	}
	hop, ok := parseHop(host)
	if !ok || !isTrusted(hop, trusted) {
		return host, overTLS
	}
	if said := hops(r.Header.Values("X-Forwarded-Proto")); len(said) > 0 {
		overTLS = strings.EqualFold(said[len(said)-1], "https")
	}
	for _, item := range slices.Backward(hops(r.Header.Values("X-Forwarded-For"))) {
		next, ok := parseHop(item)
		if !ok { // a proxy hid the address, or a client made it up
			break
		}
		hop = next
		if !isTrusted(hop, trusted) {
			break
		}
	}
	return hop.String(), overTLS
}

// hops lists the items of a header to which each proxy appends one.
func hops(lines []string) []string {
	if len(lines) == 0 {
		return nil
	}
	list := strings.Split(strings.Join(lines, ","), ",")
	for i := range list {
		list[i] = strings.TrimSpace(list[i])
	}
	return list
}

func isTrusted(a netip.Addr, trusted []netip.Prefix) bool {
	return slices.ContainsFunc(trusted, func(p netip.Prefix) bool { return p.Contains(a) })
}

// parseHop reads an address as proxies write it: with or without a port, with
// or without brackets.
func parseHop(text string) (netip.Addr, bool) {
	a, err := netip.ParseAddr(strings.Trim(text, "[]"))
	if err != nil {
		with, err := netip.ParseAddrPort(text)
		if err != nil {
			return netip.Addr{}, false
		}
		a = with.Addr()
	}
	return a.Unmap().WithZone(""), true
}
