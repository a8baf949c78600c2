package httpx

import "sync"

// Hub hands live events to the readers of a topic. A reader that does not keep up loses events,
// never the publisher its time. Safe for concurrent use; the zero value works.
type Hub[T any] struct {
	mu     sync.Mutex
	topics map[string]map[chan T]bool
}

// Subscribe is a channel of the topic's events from now on; call stop when done reading.
func (h *Hub[T]) Subscribe(topic string) (events <-chan T, stop func()) {
	c := make(chan T, 1024)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.topics == nil {
		h.topics = map[string]map[chan T]bool{}
	}
	if h.topics[topic] == nil {
		h.topics[topic] = map[chan T]bool{}
	}
	h.topics[topic][c] = true
	return c, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.topics[topic], c)
		if len(h.topics[topic]) == 0 {
			delete(h.topics, topic)
		}
	}
}

// Publish hands e to the topic's readers. It never blocks.
func (h *Hub[T]) Publish(topic string, e T) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for c := range h.topics[topic] {
		select {
		case c <- e:
		default:
		}
	}
}
