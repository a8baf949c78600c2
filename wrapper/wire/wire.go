// Package wire carries the messages of the ABI's Session over a plain stream socket, for a runner and a
// wrapper on one machine: each message is a 4-byte big-endian length and that many bytes of protobuf
// (wrapper.v1). HTTP/2 costs two more hand-overs between threads in each direction, which is more
// than everything else between the two (ADR 0016). What the messages mean is the same.
package wire

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"

	"google.golang.org/protobuf/proto"
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

// Read reads the next message into m, which it resets.
func (c *Conn) Read(m proto.Message) error {
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
	return proto.Unmarshal(b, m) // copies what it keeps of b
}

// Buffered tells whether more has come already than was read.
func (c *Conn) Buffered() bool { return c.r.Buffered() > 0 }

// Write sends a message.
func (c *Conn) Write(m proto.Message) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := append(c.out[:0], 0, 0, 0, 0)
	b, err := proto.MarshalOptions{}.MarshalAppend(b, m)
	if err != nil {
		return err
	}
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	if c.out = b; cap(b) > 1<<20 {
		c.out = nil
	}
	_, err = c.c.Write(b)
	return err
}
