package devfault

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"sync"
)

// Proxy is a network between programs and a server. It forwards, until it is
// made silent or refuses, and its target can be changed while it runs, like
// the address that a name leads to. The methods are safe for concurrent use.
type Proxy struct {
	listener net.Listener

	mu     sync.Mutex
	target string
	mode   proxyMode
	links  map[*proxyLink]bool
}

type proxyMode int

const (
	forwarding proxyMode = iota
	silent               // new connections are accepted, and nothing passes
	refusing             // new connections are closed at once
)

// proxyLink is one connection through the proxy.
type proxyLink struct {
	client, server net.Conn // server is nil if the link was silent from the beginning
	silent         bool
}

// NewProxy starts a proxy on a free port in front of the server at target, an
// address as host:port.
func NewProxy(target string) (*Proxy, error) {
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("start a proxy: %w", err)
	}
	p := &Proxy{listener: listener, target: target, links: map[*proxyLink]bool{}}
	go p.accept()
	return p, nil
}

// Addr is the address of the proxy as host:port.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// URL returns the URL of a server with the address of the proxy in it.
func (p *Proxy) URL(serverURL string) (string, error) {
	u, err := url.Parse(serverURL)
	if err != nil {
		return "", fmt.Errorf("read the URL of the server behind a proxy: %w", err)
	}
	u.Host = p.Addr()
	return u.String(), nil
}

// SetTarget leads new connections to another server. The existing ones stay
// where they are.
func (p *Proxy) SetTarget(addr string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = addr
}

// SilenceOpen makes all open connections silent for the rest of their lives,
// and returns how many there were. They stay open on both sides, and nothing
// passes: neither bytes nor the end of either side. New connections work. A
// frozen pooler, or a firewall that has forgotten its state, behaves like this.
func (p *Proxy) SilenceOpen() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for l := range p.links {
		if !l.silent {
			l.silent = true
			n++
		}
	}
	return n
}

// SilenceAll does what SilenceOpen does, and makes new connections silent, too,
// until Forward.
func (p *Proxy) SilenceAll() {
	p.SilenceOpen()
	p.setMode(silent)
}

// Refuse closes all connections, and new ones at once, until Forward.
func (p *Proxy) Refuse() {
	p.setMode(refusing)
	p.Cut()
}

// Forward lets new connections through again. Silent ones remain silent.
func (p *Proxy) Forward() { p.setMode(forwarding) }

// Cut closes all connections on both sides.
func (p *Proxy) Cut() { p.drop(func(*proxyLink) bool { return true }, true) }

// ForgetSilent closes silent connections on the side of the server, which then
// ends the sessions that belong to them. On the side of the client they remain
// open and silent.
func (p *Proxy) ForgetSilent() { p.drop(func(l *proxyLink) bool { return l.silent }, false) }

// Close stops the proxy and closes all connections.
func (p *Proxy) Close() error {
	err := p.listener.Close()
	p.Cut()
	return err
}

func (p *Proxy) setMode(m proxyMode) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mode = m
}

func (p *Proxy) drop(which func(*proxyLink) bool, clients bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		if !which(l) {
			continue
		}
		if l.server != nil {
			_ = l.server.Close()
		}
		if clients {
			_ = l.client.Close()
			delete(p.links, l)
		}
	}
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return // the proxy was closed
		}
		go p.connect(client)
	}
}

func (p *Proxy) connect(client net.Conn) {
	p.mu.Lock()
	target, mode := p.target, p.mode
	p.mu.Unlock()
	l := &proxyLink{client: client, silent: mode == silent}
	var err error
	if mode == forwarding {
		l.server, err = (&net.Dialer{}).DialContext(context.Background(), "tcp", target)
	}
	p.mu.Lock()
	if err != nil || p.mode == refusing {
		p.mu.Unlock()
		_ = client.Close()
		if l.server != nil {
			_ = l.server.Close()
		}
		return
	}
	p.links[l] = true
	p.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { p.pass(l, l.server, l.client) })
	if l.server != nil {
		both.Go(func() { p.pass(l, l.client, l.server) })
	}
	both.Wait()
	p.mu.Lock()
	delete(p.links, l)
	p.mu.Unlock()
	_ = client.Close()
	if l.server != nil {
		_ = l.server.Close()
	}
}

// pass forwards bytes until its source ends, and then ends the other side,
// unless the link is silent.
func (p *Proxy) pass(l *proxyLink, to, from net.Conn) {
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		p.mu.Lock()
		quiet := l.silent
		p.mu.Unlock()
		switch {
		case err != nil && !quiet:
			_ = to.Close()
			return
		case err != nil:
			return
		case quiet:
			continue
		}
		if _, err := to.Write(buf[:n]); err != nil {
			_ = from.Close()
			return
		}
	}
}
