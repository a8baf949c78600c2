// Package bustest is the conformance suite of buses: every adapter of the ports in eventing/bus
// runs it, so that a service behaves the same whichever bus is under it.
package bustest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/eventing/bus"
	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/kit/id"
)

// Bus is one bus under test, empty at first.
type Bus struct {
	bus.Publisher
	bus.Subscriber
	// Dead tells the ids of the messages that a queue gave up, oldest first.
	Dead func(t *testing.T, queue string) []string
	// Replay hands a message that was given up to its queue again.
	Replay func(t *testing.T, queue, messageID string)
	// Durable: a confirmed message waits for a consumer that is not there. Otherwise the publisher
	// is told of the failure, or of a success where no queue was bound, and keeps what it must.
	Durable bool
}

const patience = 20 * time.Second

type harness struct {
	*testing.T
	b        Bus
	exchange string
}

// Run runs the suite on buses that open makes.
func Run(t *testing.T, open func(t *testing.T) Bus) {
	for name, test := range map[string]func(*harness){
		"a message reaches every bound queue once, whole":        fanOut,
		"only bound keys and exchanges":                          bindings,
		"one publisher's messages keep their order":              order,
		"a failed message is tried again":                        retry,
		"what is not valid or fails for good is a dead letter":   dead,
		"a dead letter can be handed over again":                 replay,
		"prefetch messages are dealt with at a time":             prefetch,
		"what a stopped consumer had under way comes again":      stopped,
		"a queue has one consumer, and another after it":         takeOver,
		"many publishers at once lose nothing":                   many,
		"a handler that publishes does not block the bus":        nested,
		"an unbound message is no error":                         unbound,
		"a slow queue does not hold up another":                  slow,
		"the context of a handler ends when its consumer stops ": contexts,
	} {
		t.Run(name, func(t *testing.T) {
			test(&harness{t, open(t), "test" + id.New()[:8] + ".v1"})
		})
	}
}

func (h *harness) message(key, body string) bus.Message {
	return bus.Message{ID: id.New(), Exchange: h.exchange, Key: key, Body: []byte(body), Headers: map[string]string{"traceparent": "00-" + body}, At: time.Now().UTC().Truncate(time.Millisecond)}
}

// publish waits until the message is confirmed.
func (h *harness) publish(m bus.Message) error {
	h.Helper()
	done := make(chan error, 1)
	h.b.Publish(m, func(err error) { done <- err })
	select {
	case err := <-done:
		return err
	case <-time.After(patience):
		h.Fatal("the message was never confirmed")
		return nil
	}
}

// send publishes without waiting for the end.
func (h *harness) send(m bus.Message) { h.b.Publish(m, func(error) {}) }

func (h *harness) subscribe(ctx context.Context, q bus.Queue, f bus.Handler) {
	h.Helper()
	if q.Exchange == "" {
		q.Exchange = h.exchange
	}
	require.NoError(h, h.b.Subscribe(ctx, q, f))
}

func await[T any](h *harness, c <-chan T, what string) T {
	h.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		h.Fatalf("never came: %s", what)
		panic("unreachable")
	}
}

func collector() (chan bus.Message, bus.Handler) {
	c := make(chan bus.Message, 10000)
	return c, func(_ context.Context, m bus.Message) error { c <- m; return nil }
}

func fanOut(h *harness) {
	first, f := collector()
	second, g := collector()
	h.subscribe(h.Context(), bus.Queue{Name: h.exchange + "a.Thing", Keys: []string{"Thing"}}, f)
	h.subscribe(h.Context(), bus.Queue{Name: h.exchange + "b.Thing", Keys: []string{"Thing"}}, g)
	m := h.message("Thing", "body")
	require.NoError(h, h.publish(m))
	for _, c := range []chan bus.Message{first, second} {
		got := await(h, c, "the message")
		require.Equal(h, m.ID, got.ID)
		require.Equal(h, m.Exchange, got.Exchange)
		require.Equal(h, m.Key, got.Key)
		require.Equal(h, m.Body, got.Body)
		require.Equal(h, m.Headers["traceparent"], got.Headers["traceparent"])
		require.True(h, m.At.Equal(got.At), "%s %s", m.At, got.At)
		require.Empty(h, c)
	}
}

func bindings(h *harness) {
	c, f := collector()
	h.subscribe(h.Context(), bus.Queue{Name: h.exchange + "a", Keys: []string{"One", "Two"}}, f)
	for _, key := range []string{"Three", "One", "Onex", "Two"} {
		require.NoError(h, h.publish(h.message(key, key)))
	}
	other := h.message("One", "elsewhere")
	other.Exchange += "x"
	require.NoError(h, h.publish(other))
	require.NoError(h, h.publish(h.message("Two", "last")))
	var got []string
	for len(got) < 3 {
		got = append(got, string(await(h, c, "a bound message").Body))
	}
	require.Equal(h, []string{"One", "Two", "last"}, got)
}

func order(h *harness) {
	c, f := collector()
	h.subscribe(h.Context(), bus.Queue{Name: h.exchange + "a", Keys: []string{"N"}}, f)
	const n = 500
	for i := range n {
		h.send(h.message("N", fmt.Sprint(i)))
	}
	for i := range n {
		require.Equal(h, fmt.Sprint(i), string(await(h, c, "a message").Body))
	}
}

func retry(h *harness) {
	tries, done := 0, make(chan int, 1)
	h.subscribe(h.Context(), bus.Queue{Name: h.exchange + "a", Keys: []string{"N"}}, func(context.Context, bus.Message) error {
		if tries++; tries < 3 {
			return errors.New("not yet")
		}
		done <- tries
		return nil
	})
	h.send(h.message("N", "x"))
	require.Equal(h, 3, await(h, done, "the third try"))
	require.Empty(h, h.b.Dead(h.T, h.exchange+"a"))
}

func dead(h *harness) {
	var mu sync.Mutex
	tries := map[string]int{}
	ok := make(chan string, 1)
	queue := h.exchange + "a"
	h.subscribe(h.Context(), bus.Queue{Name: queue, Keys: []string{"N"}, MaxTries: 2}, func(_ context.Context, m bus.Message) error {
		mu.Lock()
		defer mu.Unlock()
		tries[string(m.Body)]++
		switch string(m.Body) {
		case "invalid":
			return fault.New(fault.Invalid, "nobody understands this")
		case "broken":
			return errors.New("always")
		}
		ok <- string(m.Body)
		return nil
	})
	invalid, broken := h.message("N", "invalid"), h.message("N", "broken")
	h.send(invalid)
	h.send(broken)
	h.send(h.message("N", "good"))
	require.Equal(h, "good", await(h, ok, "the message behind the dead ones"))
	h.eventually("both are dead letters", func() bool { return len(h.b.Dead(h.T, queue)) == 2 })
	require.ElementsMatch(h, []string{invalid.ID, broken.ID}, h.b.Dead(h.T, queue))
	mu.Lock()
	defer mu.Unlock()
	require.Equal(h, map[string]int{"invalid": 1, "broken": 2, "good": 1}, tries)
}

// eventually waits for a state that nothing tells of.
func (h *harness) eventually(what string, check func() bool) {
	h.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.After(patience); !check(); {
		select {
		case <-tick.C:
		case <-end:
			h.Fatalf("never came: %s", what)
		}
	}
}

func replay(h *harness) {
	var mu sync.Mutex
	mended := false
	queue, ok := h.exchange+"a", make(chan string, 1)
	h.subscribe(h.Context(), bus.Queue{Name: queue, Keys: []string{"N"}, MaxTries: 1}, func(_ context.Context, m bus.Message) error {
		mu.Lock()
		defer mu.Unlock()
		if !mended {
			return errors.New("broken")
		}
		ok <- m.ID
		return nil
	})
	m := h.message("N", "x")
	h.send(m)
	h.eventually("it is a dead letter", func() bool { return len(h.b.Dead(h.T, queue)) == 1 })
	mu.Lock()
	mended = true
	mu.Unlock()
	h.b.Replay(h.T, queue, m.ID)
	require.Equal(h, m.ID, await(h, ok, "the message, again"))
	require.Empty(h, h.b.Dead(h.T, queue))
}

func prefetch(h *harness) {
	const at = 4
	busy, gate := make(chan struct{}, 100), make(chan struct{})
	h.subscribe(h.Context(), bus.Queue{Name: h.exchange + "a", Keys: []string{"N"}, Prefetch: at}, func(context.Context, bus.Message) error {
		busy <- struct{}{}
		<-gate
		return nil
	})
	for range 3 * at {
		h.send(h.message("N", "x"))
	}
	for range at {
		await(h, busy, "a handler at work")
	}
	select {
	case <-busy:
		h.Fatal("more are dealt with at a time than asked for")
	case <-time.After(50 * time.Millisecond):
	}
	close(gate)
	for range 2 * at {
		await(h, busy, "the rest")
	}
}

func stopped(h *harness) {
	ctx, stop := context.WithCancel(h.Context())
	began := make(chan struct{}, 1)
	queue := bus.Queue{Name: h.exchange + "a", Keys: []string{"N"}}
	h.subscribe(ctx, queue, func(ctx context.Context, _ bus.Message) error {
		began <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	})
	m := h.message("N", "x")
	outcome := make(chan error, 1)
	h.b.Publish(m, func(err error) { outcome <- err })
	await(h, began, "the first delivery")
	stop()
	if !h.b.Durable {
		// The publisher keeps it and publishes again, once there is a consumer.
		require.Error(h, await(h, outcome, "the outcome"))
	} else {
		require.NoError(h, await(h, outcome, "the confirmation"))
	}
	c, f := collector()
	h.eventually("the queue is free", func() bool {
		q := queue
		q.Exchange = h.exchange
		return h.b.Subscribe(h.Context(), q, f) == nil
	})
	if !h.b.Durable {
		require.NoError(h, h.publish(m))
	}
	require.Equal(h, m.ID, await(h, c, "the message, again").ID)
}

func takeOver(h *harness) {
	ctx, stop := context.WithCancel(h.Context())
	q := bus.Queue{Name: h.exchange + "a", Exchange: h.exchange, Keys: []string{"N"}}
	_, f := collector()
	require.NoError(h, h.b.Subscribe(ctx, q, f))
	err := h.b.Subscribe(h.Context(), q, f)
	require.True(h, fault.Is(err, fault.Conflict), "%v", err)
	stop()
	c, g := collector()
	h.eventually("another may consume", func() bool { return h.b.Subscribe(h.Context(), q, g) == nil })
	require.NoError(h, h.publish(h.message("N", "x")))
	await(h, c, "the message")
}

func many(h *harness) {
	c, f := collector()
	h.subscribe(h.Context(), bus.Queue{Name: h.exchange + "a", Keys: []string{"N"}, Prefetch: 8}, f)
	const publishers, each = 8, 200
	var wg sync.WaitGroup
	var want []string
	for range publishers {
		var batch []bus.Message
		for range each {
			m := h.message("N", "x")
			batch, want = append(batch, m), append(want, m.ID)
		}
		wg.Go(func() {
			for _, m := range batch {
				h.send(m)
			}
		})
	}
	wg.Wait()
	var got []string
	for len(got) < publishers*each {
		got = append(got, await(h, c, "a message").ID)
	}
	slices.Sort(want)
	slices.Sort(got)
	require.Equal(h, want, got)
}

func nested(h *harness) {
	c, f := collector()
	h.subscribe(h.Context(), bus.Queue{Name: h.exchange + "b", Keys: []string{"Inner"}}, f)
	h.subscribe(h.Context(), bus.Queue{Name: h.exchange + "a", Keys: []string{"Outer"}}, func(_ context.Context, m bus.Message) error {
		return h.publish(h.message("Inner", string(m.Body)))
	})
	require.NoError(h, h.publish(h.message("Outer", "x")))
	require.Equal(h, "x", string(await(h, c, "the inner message").Body))
}

func unbound(h *harness) { require.NoError(h, h.publish(h.message("Nobody", "x"))) }

func slow(h *harness) {
	gate := make(chan struct{})
	h.subscribe(h.Context(), bus.Queue{Name: h.exchange + "slow", Keys: []string{"N"}}, func(context.Context, bus.Message) error { <-gate; return nil })
	c, f := collector()
	h.subscribe(h.Context(), bus.Queue{Name: h.exchange + "quick", Keys: []string{"N"}}, f)
	for range 50 {
		h.send(h.message("N", "x"))
	}
	for range 50 {
		await(h, c, "a message of the quick queue")
	}
	close(gate)
}

func contexts(h *harness) {
	ctx, stop := context.WithCancel(h.Context())
	began, ended := make(chan struct{}), make(chan struct{})
	h.subscribe(ctx, bus.Queue{Name: h.exchange + "a", Keys: []string{"N"}}, func(ctx context.Context, _ bus.Message) error {
		close(began)
		<-ctx.Done()
		close(ended)
		return ctx.Err()
	})
	h.send(h.message("N", "x"))
	await(h, began, "the delivery")
	stop()
	await(h, ended, "the end of the handler's context")
}
