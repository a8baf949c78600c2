package blob

import (
	"errors"
	"io"
	"sync"
)

// cut is a reader that somebody else may hold for longer than we allow.
type cut struct {
	mu   sync.Mutex
	r    io.Reader
	over bool
}

func (c *cut) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return 0, errors.New("the transfer is over")
	}
	return c.r.Read(p)
}

func (c *cut) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
}
