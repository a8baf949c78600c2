package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// client is one kept-alive connection that sends the same request again and again. It costs the
// machine far less than net/http would, since it shares the processors with what it measures.
type client struct {
	conn    net.Conn
	r       *bufio.Reader
	request []byte
	body    []byte
}

const payload = `{"x":1}`

func dial(addr, path string, headers ...string) (*client, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	text := "POST " + path + " HTTP/1.1\r\nHost: " + addr + "\r\nContent-Type: application/json\r\nContent-Length: " + strconv.Itoa(len(payload)) + "\r\n"
	for _, h := range headers {
		text += h + "\r\n"
	}
	return &client{conn: conn, r: bufio.NewReader(conn), request: []byte(text + "\r\n" + payload)}, nil
}

// call sends the request and reads the whole answer, which is valid until the next call.
func (c *client) call() (status int, body []byte, err error) {
	if _, err := c.conn.Write(c.request); err != nil {
		return 0, nil, err
	}
	line, err := c.r.ReadSlice('\n')
	if err != nil || len(line) < 12 {
		return 0, nil, fmt.Errorf("the answer's first line is %q: %w", line, err)
	}
	status, err = strconv.Atoi(string(line[9:12]))
	length := -1
	for err == nil {
		if line, err = c.r.ReadSlice('\n'); len(line) <= 2 {
			break
		}
		if name, value, ok := bytes.Cut(line, []byte(": ")); ok && bytes.EqualFold(name, []byte("Content-Length")) {
			length, err = strconv.Atoi(string(bytes.TrimSpace(value)))
		}
	}
	if err != nil || length < 0 {
		return 0, nil, errors.Join(errors.New("the answer has no length"), err)
	}
	if cap(c.body) < length {
		c.body = make([]byte, length)
	}
	_, err = io.ReadFull(c.r, c.body[:length])
	return status, c.body[:length], err
}

// good is call for answers that have to carry the handler's result.
func (c *client) good() error {
	status, body, err := c.call()
	if err == nil && (status != http.StatusOK || !bytes.Contains(body, []byte(`"x":1`))) {
		err = fmt.Errorf("the answer is %d: %s", status, body)
	}
	return err
}

// latency is the median time in ms of n calls after a tenth that warms up.
func latency(addr, path string, n int) (float64, error) {
	c, err := dial(addr, path)
	if err != nil {
		return 0, err
	}
	defer c.conn.Close()
	return sample(n, c.good)
}

// rate keeps n clients busy for a while and counts the answers per second.
func rate(ctx context.Context, addr, path string, n int, span time.Duration) (float64, error) {
	var count atomic.Int64
	var failed atomic.Pointer[error]
	var wg sync.WaitGroup
	start := time.Now()
	for range n {
		wg.Go(func() {
			c, err := dial(addr, path)
			if err == nil {
				defer c.conn.Close()
			}
			for err == nil && time.Since(start) < span && failed.Load() == nil && ctx.Err() == nil {
				if err = c.good(); err == nil {
					count.Add(1)
				}
			}
			if err != nil {
				failed.Store(&err)
			}
		})
	}
	wg.Wait()
	if err := failed.Load(); err != nil {
		return 0, *err
	}
	return float64(count.Load()) / time.Since(start).Seconds(), ctx.Err()
}

// sample is the median time in ms of n calls of f after a tenth that warms up.
func sample(n int, f func() error) (float64, error) {
	times := make([]float64, 0, n)
	for i := range n + n/10 {
		start := time.Now()
		if err := f(); err != nil {
			return 0, err
		}
		if i >= n/10 {
			times = append(times, float64(time.Since(start).Nanoseconds())/1e6)
		}
	}
	return median(times), nil
}
