package devtest

import (
	"net"
	"net/url"
	"sync"
	"testing"
)

// Proxy is a network between a test and a server. It can swallow bytes, as a
// broken network or a frozen server does: connections stay open and new ones
// are accepted, but what is sent on them is lost.
type Proxy struct {
	addr   string
	target string

	mu       sync.Mutex
	requests bool // bytes for the server are swallowed
	answers  bool // bytes from the server are swallowed
	clients  map[net.Conn]bool
	servers  map[net.Conn]bool
}

// NewProxy starts a proxy in front of the server of a URL. It returns the proxy
// and the URL that leads through it.
func NewProxy(t testing.TB, serverURL string) (*Proxy, string) {
	t.Helper()
	u, err := url.Parse(serverURL)
	if err != nil {
		t.Fatalf("parse the server's URL: %v", err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // the listener ends with the test
	if err != nil {
		t.Fatalf("start a proxy: %v", err)
	}
	p := &Proxy{
		addr: listener.Addr().String(), target: u.Host,
		clients: map[net.Conn]bool{}, servers: map[net.Conn]bool{},
	}
	t.Cleanup(func() {
		_ = listener.Close()
		p.Cut()
		p.mu.Lock()
		defer p.mu.Unlock()
		for c := range p.servers {
			_ = c.Close()
		}
	})
	go p.accept(listener)
	u.Host = p.addr
	return p, u.String()
}

// Swallow discards everything that is sent in either direction.
func (p *Proxy) Swallow() { p.set(true, true) }

// SwallowAnswers discards everything that the server sends. The server still
// receives everything.
func (p *Proxy) SwallowAnswers() { p.set(false, true) }

// Forward ends Swallow and SwallowAnswers. The discarded bytes remain lost.
func (p *Proxy) Forward() { p.set(false, false) }

func (p *Proxy) set(requests, answers bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.requests, p.answers = requests, answers
}

// Cut closes all connections to clients in an orderly way. The connections to
// the server stay open.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.clients {
		_ = c.Close()
	}
	clear(p.clients)
}

func (p *Proxy) accept(listener net.Listener) {
	for {
		client, err := listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.target) //nolint:noctx // the server is on this machine
		if err != nil {
			_ = client.Close()
			continue
		}
		p.mu.Lock()
		p.clients[client], p.servers[server] = true, true
		p.mu.Unlock()
		go p.pass(server, client, &p.requests)
		go p.pass(client, server, &p.answers)
	}
}

// pass forwards bytes until its source ends. It also forwards the end of the
// connection, unless bytes are being swallowed.
func (p *Proxy) pass(to, from net.Conn, swallowing *bool) {
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		p.mu.Lock()
		swallow := *swallowing
		p.mu.Unlock()
		if err != nil {
			if !swallow {
				_ = to.Close()
			}
			return
		}
		if swallow {
			continue
		}
		if _, err = to.Write(buf[:n]); err != nil {
			return
		}
	}
}
