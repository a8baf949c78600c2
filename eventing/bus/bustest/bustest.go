// Package bustest is the conformance suite of buses: every adapter of the ports in eventing/bus
// runs it, so that a service behaves the same whichever bus is under it.
package bustest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
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
	bus.DeadLetters
	// Emit declares an exchange, as its emitter does when it starts. nil: nothing has to be.
	Emit func(t *testing.T, exchange string)
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
		"a dead letter tells what it was and why":                told,
		"a dead letter can be handed over again":                 replay,
		"a dead letter can be dropped":                           dropped,
		"what the handler needs and is away is waited for":       away,
		"failing handlers do not spin":                           backoff,
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
			h := &harness{t, open(t), "test" + strings.ReplaceAll(id.New(), "-", "") + ".v1"}
			if h.b.Emit != nil {
				h.b.Emit(t, h.exchange)
			}
			test(h)
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
	require.Empty(h, h.dead(h.exchange+"a"))
}

// dead are the ids of the messages that a queue gave up.
func (h *harness) dead(queue string) (ids []string) {
	h.Helper()
	letters, err := h.b.Dead(h.Context(), queue)
	require.NoError(h, err)
	for _, l := range letters {
		ids = append(ids, l.ID)
	}
	return ids
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
	h.eventually("both are dead letters", func() bool { return len(h.dead(queue)) == 2 })
	require.ElementsMatch(h, []string{invalid.ID, broken.ID}, h.dead(queue))
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
	h.eventually("it is a dead letter", func() bool { return len(h.dead(queue)) == 1 })
	mu.Lock()
	mended = true
	mu.Unlock()
	err := h.b.Replay(h.Context(), queue, id.New())
	require.True(h, fault.Is(err, fault.NotFound), "%v", err)
	require.NoError(h, h.b.Replay(h.Context(), queue, m.ID))
	require.Equal(h, m.ID, await(h, ok, "the message, again"))
	h.eventually("it is no dead letter any more", func() bool { return len(h.dead(queue)) == 0 })
}

// give publishes a message that the queue gives up at once.
func (h *harness) give(queue string) bus.Message {
	h.Helper()
	h.subscribe(h.Context(), bus.Queue{Name: queue, Keys: []string{"N"}, MaxTries: 1}, func(context.Context, bus.Message) error {
		return errors.New("the cause")
	})
	m := h.message("N", "x")
	h.send(m)
	h.eventually("it is a dead letter", func() bool { return len(h.dead(queue)) == 1 })
	return m
}

func told(h *harness) {
	queue := h.exchange + "a"
	m := h.give(queue)
	for range 3 { // looking changes nothing
		letters, err := h.b.Dead(h.Context(), queue)
		require.NoError(h, err)
		require.Len(h, letters, 1)
		l := letters[0]
		require.Equal(h, []string{m.ID, m.Exchange, m.Key, string(m.Body), m.Headers["traceparent"], queue},
			[]string{l.ID, l.Exchange, l.Key, string(l.Body), l.Headers["traceparent"], l.Queue})
		require.True(h, m.At.Equal(l.At), "%s %s", m.At, l.At)
		require.Contains(h, l.Reason, "the cause")
		require.Equal(h, 1, l.Tries)
		require.WithinDuration(h, time.Now(), l.DiedAt, time.Minute)
	}
	letters, err := h.b.Dead(h.Context(), h.exchange+"unknown")
	require.NoError(h, err)
	require.Empty(h, letters)
}

func dropped(h *harness) {
	queue := h.exchange + "a"
	m := h.give(queue)
	err := h.b.Drop(h.Context(), queue, id.New())
	require.True(h, fault.Is(err, fault.NotFound), "%v", err)
	require.NoError(h, h.b.Drop(h.Context(), queue, m.ID))
	h.eventually("it is gone", func() bool { return len(h.dead(queue)) == 0 })
}

func away(h *harness) {
	tries, done := 0, make(chan int, 1)
	queue := h.exchange + "a"
	h.subscribe(h.Context(), bus.Queue{Name: queue, Keys: []string{"N"}, MaxTries: 2}, func(context.Context, bus.Message) error {
		if tries++; tries < 5 {
			return fault.New(fault.Unavailable, "the database is away")
		}
		done <- tries
		return nil
	})
	h.send(h.message("N", "x"))
	require.Equal(h, 5, await(h, done, "the message, dealt with"))
	require.Empty(h, h.dead(queue))
}

func backoff(h *harness) {
	var tries []time.Time
	done := make(chan struct{})
	h.subscribe(h.Context(), bus.Queue{Name: h.exchange + "a", Keys: []string{"N"}}, func(context.Context, bus.Message) error {
		if tries = append(tries, time.Now()); len(tries) < 5 {
			return errors.New("not yet")
		}
		close(done)
		return nil
	})
	h.send(h.message("N", "x"))
	await(h, done, "the last try")
	// Waits double from 20 ms: a bus that delivers again at once is far below.
	require.Greater(h, tries[4].Sub(tries[0]), 200*time.Millisecond)
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
