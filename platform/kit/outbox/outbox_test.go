package outbox_test

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/eventing/bus"
	"github.com/pelton-run/pelton/platform/kit/id"
	"github.com/pelton-run/pelton/platform/kit/outbox"
	"github.com/pelton-run/pelton/platform/kit/pg"
	"github.com/pelton-run/pelton/platform/kit/pgtest"
)

//go:embed testdata/migrations/*.sql
var migrations embed.FS

func TestMain(m *testing.M) {
	if os.Getenv(roleEnv) != "" {
		os.Exit(consumerMain())
	}
	pgtest.Main(m)
}

func database(t *testing.T) *pg.Pool {
	t.Helper()
	text, err := migrations.ReadFile("testdata/migrations/001_outbox.sql")
	require.NoError(t, err)
	require.Equal(t, outbox.Migration, string(text), "the test's migration is the one that services include")
	return pgtest.New(t, "outbox", migrations, "testdata/migrations")
}

func messages(n int) (out []bus.Message) {
	for i := range n {
		out = append(out, bus.Message{ID: id.New(), Exchange: "test.v1", Key: "Thing", Body: fmt.Append(nil, i), At: time.Now()})
	}
	return out
}

// publisher takes messages and answers by a rule.
type publisher struct {
	mu   sync.Mutex
	got  []string
	come chan string
	rule func(m bus.Message) (err error, answer bool)
}

func (p *publisher) Publish(m bus.Message, done func(error)) {
	p.mu.Lock()
	err, answer := p.rule(m)
	if err == nil {
		p.got = append(p.got, string(m.Body))
	}
	p.mu.Unlock()
	if answer {
		done(err)
	}
	if err == nil {
		p.come <- string(m.Body)
	}
}

func take(rule func(m bus.Message) (error, bool)) *publisher {
	return &publisher{come: make(chan string, 10000), rule: rule}
}

func (p *publisher) await(t *testing.T) string {
	t.Helper()
	select {
	case b := <-p.come:
		return b
	case <-time.After(20 * time.Second):
		t.Fatal("the message never came")
		return ""
	}
}

func relay(t *testing.T, pool *pg.Pool, p bus.Publisher) (r *outbox.Relay, stop func()) {
	t.Helper()
	r = outbox.NewRelay(pool, p, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = r.Run(ctx) }()
	stop = func() { cancel(); <-ended }
	t.Cleanup(stop)
	return r, stop
}

func left(t *testing.T, pool *pg.Pool) (n int) {
	t.Helper()
	require.NoError(t, pool.QueryRow(t.Context(), "SELECT count(*) FROM outbox").Scan(&n))
	return n
}

func TestOnlyWhatIsCommittedGoesOut(t *testing.T) {
	pool := database(t)
	p := take(func(bus.Message) (error, bool) { return nil, true })
	r, _ := relay(t, pool, p)
	undone := errors.New("undone")
	err := pg.InTx(t.Context(), pool, func(tx pgx.Tx) error {
		if err := outbox.Append(t.Context(), tx, messages(3)...); err != nil {
			return err
		}
		return undone
	})
	require.ErrorIs(t, err, undone)
	const n = 1200 // more than one window
	for i := range 4 {
		require.NoError(t, pg.InTx(t.Context(), pool, func(tx pgx.Tx) error { return outbox.Append(t.Context(), tx, messages(n/4)...) }), i)
		r.Notify()
	}
	for i := range n {
		require.Equal(t, fmt.Sprint(i%(n/4)), p.await(t), "in the order of their commits")
	}
	require.Eventually(t, func() bool { return left(t, pool) == 0 }, 10*time.Second, 5*time.Millisecond)
}

// What a bus did not confirm is published again by the next process.
func TestUnconfirmedSurvivesACrash(t *testing.T) {
	pool := database(t)
	require.NoError(t, pg.InTx(t.Context(), pool, func(tx pgx.Tx) error { return outbox.Append(t.Context(), tx, messages(3)...) }))
	first := take(func(m bus.Message) (error, bool) { return nil, string(m.Body) == "0" })
	_, stop := relay(t, pool, first)
	for range 3 {
		first.await(t)
	}
	require.Eventually(t, func() bool { return left(t, pool) == 2 }, 10*time.Second, 5*time.Millisecond, "the confirmed one is gone")
	stop()
	second := take(func(bus.Message) (error, bool) { return nil, true })
	relay(t, pool, second)
	require.Equal(t, "1", second.await(t))
	require.Equal(t, "2", second.await(t))
	require.Eventually(t, func() bool { return left(t, pool) == 0 }, 10*time.Second, 5*time.Millisecond)
}

func TestRefusedIsTriedAgain(t *testing.T) {
	pool := database(t)
	tries := 0
	p := take(func(bus.Message) (error, bool) {
		if tries++; tries == 1 {
			return errors.New("the broker is away"), true
		}
		return nil, true
	})
	r, _ := relay(t, pool, p)
	require.NoError(t, pg.InTx(t.Context(), pool, func(tx pgx.Tx) error { return outbox.Append(t.Context(), tx, messages(1)...) }))
	r.Notify()
	require.Equal(t, "0", p.await(t))
}

// A consumer sees a message once, however often it comes; another consumer sees it too.
func TestFirst(t *testing.T) {
	pool := database(t)
	message := id.New()
	see := func(consumer string, commit bool) (first bool) {
		err := pg.InTx(t.Context(), pool, func(tx pgx.Tx) (err error) {
			if first, err = outbox.First(t.Context(), tx, consumer, message); err == nil && !commit {
				err = errors.New("the handler failed")
			}
			return err
		})
		require.Equal(t, commit, err == nil)
		return first
	}
	require.True(t, see("a", false))
	require.True(t, see("a", true), "the try before left nothing")
	require.False(t, see("a", true))
	require.True(t, see("b", true))
}

// What was refused goes out again with everything behind it, in the old order.
func TestOrderAfterARefusal(t *testing.T) {
	pool := database(t)
	var mu sync.Mutex
	var dones []func(error)
	var got []string
	held := make(chan struct{}, 100)
	p := publisherFunc(func(m bus.Message, done func(error)) {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, string(m.Body))
		dones = append(dones, done)
		held <- struct{}{}
	})
	r, _ := relay(t, pool, p)
	require.NoError(t, pg.InTx(t.Context(), pool, func(tx pgx.Tx) error { return outbox.Append(t.Context(), tx, messages(3)...) }))
	r.Notify()
	for range 3 {
		<-held
	}
	require.NoError(t, pg.InTx(t.Context(), pool, func(tx pgx.Tx) error { return outbox.Append(t.Context(), tx, messages(1)...) }))
	mu.Lock()
	first := dones
	mu.Unlock()
	first[0](nil)
	first[1](errors.New("the connection ended"))
	r.Notify() // the third may be anywhere: nothing overtakes it
	require.Eventually(t, func() bool { return left(t, pool) == 3 }, 10*time.Second, 5*time.Millisecond, "the first is gone")
	first[2](errors.New("the connection ended"))
	for range 3 {
		<-held
	}
	mu.Lock()
	defer mu.Unlock()
	require.Equal(t, []string{"0", "1", "2", "1", "2", "0"}, got)
}

type publisherFunc func(bus.Message, func(error))

func (f publisherFunc) Publish(m bus.Message, done func(error)) { f(m, done) }

// Of two relays on one database one works; the other goes on when it ends.
func TestOneRelayWorks(t *testing.T) {
	pool := database(t)
	take1 := take(func(bus.Message) (error, bool) { return nil, true })
	take2 := take(func(bus.Message) (error, bool) { return nil, true })
	write := func() {
		require.NoError(t, pg.InTx(t.Context(), pool, func(tx pgx.Tx) error { return outbox.Append(t.Context(), tx, messages(50)...) }))
	}
	write()
	_, stop := relay(t, pool, take1)
	take1.await(t)
	second, _ := relay(t, pool, take2)
	write()
	second.Notify()
	require.Eventually(t, func() bool { return left(t, pool) == 0 }, 10*time.Second, 5*time.Millisecond)
	require.Empty(t, take2.come, "it stands by")
	stop()
	write()
	require.Eventually(t, func() bool { return left(t, pool) == 0 }, 10*time.Second, 5*time.Millisecond)
	require.Len(t, take2.come, 50)
}
