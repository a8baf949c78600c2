package app

import (
	"maps"
	"sync"
)

// capBook keeps every project's caps, so that a step never waits for the database to ask for its
// place.
type capBook struct {
	server int
	mu     sync.RWMutex
	caps   map[string]Caps
}

func newCapBook(server int) *capBook { return &capBook{server: server, caps: map[string]Caps{}} }

func (b *capBook) put(project string, c Caps) {
	c.Workflows, c.Actions = maps.Clone(c.Workflows), maps.Clone(c.Actions)
	drop := func(_ string, n int) bool { return n == 0 }
	maps.DeleteFunc(c.Workflows, drop)
	maps.DeleteFunc(c.Actions, drop)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.caps[project] = c
}

// of gives a project's caps; its maps are not to be changed.
func (b *capBook) of(project string) Caps {
	b.mu.RLock()
	defer b.mu.RUnlock()
	c := b.caps[project]
	c.Server = b.server
	return c
}
