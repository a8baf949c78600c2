// Package wire carries the messages of the ABI's Session over a plain stream socket, for a runner and a
// wrapper on one machine: each message is a 4-byte big-endian length and that many bytes of protobuf
// (wrapper.v1). HTTP/2 costs two more hand-overs between threads in each direction, which is more
// than everything else between the two (ADR 0018). What the messages mean is the same.
package wire

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"syscall"
)

// Suffix of the socket that speaks plain frames; it lies beside the one that speaks gRPC.
const Suffix = ".f"

// Max is the size above which a message is refused, in bytes; the ABI's limit is 256 KiB for each
// message in a batch.
const Max = 4 << 20

// Conn sends and receives messages. Read is for one goroutine; Write is safe for concurrent use, and
// what it sends is gone from here when it returns: a message may be used again.
type Conn struct {
	c   net.Conn
	r   *bufio.Reader
	in  []byte
	mu  sync.Mutex
	out []byte

	rest    []byte // of Post: what the socket has not taken yet
	sending bool
}

// New makes a Conn of a connection.
func New(c net.Conn) *Conn { return &Conn{c: c, r: bufio.NewReaderSize(c, 64<<10)} }

// Dial connects to the plain socket beside a wrapper's gRPC socket.
func Dial(socket string) (*Conn, error) {
	c, err := net.Dial("unix", socket+Suffix)
	if err != nil {
		return nil, err
	}
	return New(c), nil
}

// Close ends the connection; a Read or Write under way returns an error.
func (c *Conn) Close() error { return c.c.Close() }

// Message is one that is coded without reflection.
type Message interface {
	SizeVT() int
	MarshalToSizedBufferVT(b []byte) (int, error)
	UnmarshalVT(b []byte) error
}

// Read reads the next message into m, which is empty.
func (c *Conn) Read(m Message) error {
	var head [4]byte
	if _, err := io.ReadFull(c.r, head[:]); err != nil {
		return err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > Max {
		return fmt.Errorf("a message of %d bytes is over the limit of %d", n, Max)
	}
	if cap(c.in) < int(n) || cap(c.in) > 1<<20 && n < 1<<16 {
		c.in = make([]byte, max(int(n), 4096))
	}
	b := c.in[:n]
	if _, err := io.ReadFull(c.r, b); err != nil {
		return err
	}
	return m.UnmarshalVT(b) // copies what it keeps of b
}

// Buffered tells whether more has come already than was read.
func (c *Conn) Buffered() bool { return c.r.Buffered() > 0 }

// Write sends a message. It waits while the other end does not read.
func (c *Conn) Write(m Message) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	b, err := c.encode(m)
	if err != nil {
		return err
	}
	_, err = c.c.Write(b)
	return err
}

// Post sends a message and never waits: what the socket does not take at once is kept and sent as it
// does. It is not to be mixed with Write. That the connection is gone shows in Read.
func (c *Conn) Post(m Message) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	b, err := c.encode(m)
	if err != nil {
		return err
	}
	if !c.sending {
		n, err := c.try(b)
		if err != nil || n == len(b) {
			return err
		}
		b = b[n:]
		c.sending = true
		go c.send()
	}
	c.rest = append(c.rest, b...)
	return nil
}

// encode makes the frame of a message, which is good until the next; needs mu.
func (c *Conn) encode(m Message) ([]byte, error) {
	n := m.SizeVT()
	b := slices.Grow(c.out[:0], 4+n)[:4+n]
	if _, err := m.MarshalToSizedBufferVT(b[4:]); err != nil {
		return nil, err
	}
	binary.BigEndian.PutUint32(b, uint32(n))
	if c.out = b; cap(b) > 1<<20 {
		c.out = nil
	}
	return b, nil
}

// try writes what the socket takes at once.
func (c *Conn) try(b []byte) (n int, err error) {
	raw, ok := c.c.(syscall.Conn)
	if !ok {
		return c.c.Write(b)
	}
	sc, err := raw.SyscallConn()
	if err != nil {
		return 0, err
	}
	var werr error
	err = sc.Write(func(fd uintptr) bool {
		n, werr = syscall.Write(int(fd), b)
		return true
	})
	if n < 0 || errors.Is(werr, syscall.EAGAIN) || errors.Is(werr, syscall.EINTR) {
		n = max(n, 0)
		if errors.Is(werr, syscall.EAGAIN) || errors.Is(werr, syscall.EINTR) {
			werr = nil
		}
	}
	return n, errors.Join(err, werr)
}

// send sends what is left, as the other end takes it.
func (c *Conn) send() {
	for {
		c.mu.Lock()
		b := c.rest
		c.rest = nil
		if len(b) == 0 {
			c.sending = false
			c.mu.Unlock()
			return
		}
		c.mu.Unlock()
		if _, err := c.c.Write(b); err != nil {
			_ = c.c.Close() // Read tells
			return
		}
	}
}
