package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// client is one kept-alive HTTP/1.1 connection that sends prepared bytes and reads of an answer only what the benchmark
// needs. net/http's client takes 25 µs of processor time a request, from the very cores that the servers run on.
type client struct {
	addr string
	conn net.Conn
	in   *bufio.Reader
}

// answer is what the client reads of a response.
type answer struct {
	status int
	id     int64 // the last part of Location; 0 without one
}

const answerTimeout = 30 * time.Second

// post is a complete HTTP request as bytes.
func post(addr, path, contentType string, header http.Header, body []byte) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n", path, addr, contentType, len(body))
	_ = header.Write(&b)
	b.WriteString("\r\n")
	b.Write(body)
	return b.Bytes()
}

func (c *client) close() {
	if c.conn != nil {
		_ = c.conn.Close()
		c.conn = nil
	}
}

// do sends a request and reads the answer. After an error the next call begins on a new connection.
func (c *client) do(request []byte) (answer, error) {
	if c.conn == nil {
		conn, err := net.DialTimeout("tcp", c.addr, answerTimeout) //nolint:noctx // it has its own limit
		if err != nil {
			return answer{}, err
		}
		c.conn, c.in = conn, bufio.NewReaderSize(conn, 16<<10)
	}
	a, err := c.exchange(request)
	if err != nil {
		c.close()
	}
	return a, err
}

func (c *client) exchange(request []byte) (answer, error) {
	if err := c.conn.SetDeadline(time.Now().Add(answerTimeout)); err != nil {
		return answer{}, err
	}
	if _, err := c.conn.Write(request); err != nil {
		return answer{}, err
	}
	line, err := c.in.ReadSlice('\n') // HTTP/1.1 201 Created
	if err != nil {
		return answer{}, err
	}
	if len(line) < 12 {
		return answer{}, fmt.Errorf("no status line: %q", line)
	}
	var a answer
	if a.status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return answer{}, fmt.Errorf("no status line: %q", line)
	}
	length := -1
	for {
		if line, err = c.in.ReadSlice('\n'); err != nil {
			return answer{}, err
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			break
		}
		name, value, _ := bytes.Cut(line, []byte(": "))
		switch {
		case bytes.EqualFold(name, []byte("Content-Length")):
			if length, err = strconv.Atoi(string(value)); err != nil {
				return answer{}, err
			}
		case bytes.EqualFold(name, []byte("Location")):
			a.id, _ = strconv.ParseInt(string(value[bytes.LastIndexByte(value, '/')+1:]), 10, 64)
		}
	}
	if length >= 0 {
		_, err = c.in.Discard(length)
		return a, err
	}
	return a, c.discardChunks()
}

// discardChunks reads over a body of Transfer-Encoding: chunked, which net/http uses for answers over 2 KB.
func (c *client) discardChunks() error {
	for {
		line, err := c.in.ReadSlice('\n')
		if err != nil {
			return err
		}
		size, err := strconv.ParseInt(string(bytes.TrimRight(line, "\r\n")), 16, 32)
		if err != nil {
			return err
		}
		if _, err := c.in.Discard(int(size) + len("\r\n")); err != nil {
			return err
		}
		if size == 0 {
			return nil
		}
	}
}

// loadResult is what a load found.
type loadResult struct {
	accepted int64 // all that were answered 201, also before and after the measured time
	measured int64 // of these, answered within it
	errors   int64
	firstErr error
	latency  histogram // of the measured
	elapsed  time.Duration
}

func (r *loadResult) rate() float64 { return float64(r.measured) / r.elapsed.Seconds() }

// add counts an answer.
func (r *loadResult) add(a answer, err error) (ok bool) {
	if err == nil && a.status == http.StatusCreated {
		r.accepted++
		return true
	}
	if err == nil {
		err = fmt.Errorf("answered %d", a.status)
	}
	r.errors++
	if r.firstErr == nil {
		r.firstErr = err
	}
	return false
}

func (r *loadResult) merge(o *loadResult) {
	r.accepted += o.accepted
	r.measured += o.measured
	r.errors += o.errors
	if r.firstErr == nil {
		r.firstErr = o.firstErr
	}
	r.latency.merge(&o.latency)
}

// gate holds a closed loop back while too much of what it submitted waits.
type gate struct{ shut atomic.Bool }

func (g *gate) wait(ctx context.Context) {
	for g != nil && g.shut.Load() && ctx.Err() == nil {
		time.Sleep(time.Millisecond)
	}
}

// closedLoop keeps conns connections busy, each with one request at a time, for warm and then for measure; onMeasure is
// called between the two. Nothing of the first counts but accepted.
func closedLoop(ctx context.Context, addr string, requests [][]byte, conns int, warm, measure time.Duration, g *gate, onMeasure func()) *loadResult {
	begin := time.Now().Add(warm)
	end := begin.Add(measure)
	ctx, cancel := context.WithDeadline(ctx, end)
	defer cancel()
	timer := time.AfterFunc(warm, onMeasure)
	defer timer.Stop()
	total := &loadResult{elapsed: measure}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i := range conns {
		wg.Go(func() {
			c := &client{addr: addr}
			defer c.close()
			var r loadResult
			for n := i; ctx.Err() == nil && r.errors < 3; n++ {
				g.wait(ctx)
				sent := time.Now()
				if !sent.Before(end) {
					break
				}
				ok := r.add(c.do(requests[n%len(requests)]))
				now := time.Now()
				if ok && !now.Before(begin) && !now.After(end) {
					r.measured++
					r.latency.record(now.Sub(sent))
				}
			}
			mu.Lock()
			defer mu.Unlock()
			total.merge(&r)
		})
	}
	wg.Wait()
	return total
}

// openLoop submits at a fixed rate whatever the answers take. sent is called with each accepted id and the time at
// which it was meant to be sent, so that a slow system cannot slow its own measurement down.
func openLoop(ctx context.Context, addr string, requests [][]byte, rate float64, measure time.Duration, sent func(id int64, intended time.Time)) *loadResult {
	const conns = 32
	n := max(1, int(rate*measure.Seconds()))
	interval := time.Duration(float64(time.Second) / rate)
	due := make(chan time.Time, n)
	total := &loadResult{elapsed: measure}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i := range conns {
		wg.Go(func() {
			c := &client{addr: addr}
			defer c.close()
			var r loadResult
			for intended := range due {
				a, err := c.do(requests[(i+int(r.accepted))%len(requests)])
				if r.add(a, err) {
					r.measured++
					r.latency.record(time.Since(intended))
					sent(a.id, intended)
				}
			}
			mu.Lock()
			defer mu.Unlock()
			total.merge(&r)
		})
	}
	start := time.Now()
	for i := range n {
		intended := start.Add(time.Duration(i) * interval)
		if !sleepUntil(ctx, intended) {
			break
		}
		due <- intended
	}
	close(due)
	wg.Wait()
	return total
}

// sleepUntil waits for an instant and tells whether it was reached before ctx ended. Go's own timers are half a millisecond late at the median,
// which each request would be charged with; the kernel's are a tenth late.
func sleepUntil(ctx context.Context, at time.Time) bool {
	for left := time.Until(at); left > 0 && ctx.Err() == nil; left = time.Until(at) {
		span := syscall.NsecToTimespec(int64(min(left, 50*time.Millisecond)))
		_ = syscall.Nanosleep(&span, nil) // interrupted or not, the clock tells what is left
	}
	return ctx.Err() == nil
}

// readAll sends one request and returns the whole answer; for the few that are not measured.
func readAll(ctx context.Context, method, url, contentType string, header http.Header, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	for name, values := range header {
		req.Header[name] = values
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode/100 != 2 {
		err = fmt.Errorf("%s %s answered %s: %.300s", method, url, resp.Status, content)
	}
	return content, err
}
