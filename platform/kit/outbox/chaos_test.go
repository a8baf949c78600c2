package outbox_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/eventing/bus"
	"github.com/pelton-run/pelton/eventing/rabbitbus"
	"github.com/pelton-run/pelton/platform/kit/id"
	"github.com/pelton-run/pelton/platform/kit/outbox"
	"github.com/pelton-run/pelton/platform/kit/pg"
	"github.com/pelton-run/pelton/platform/kit/pgserver"
	"github.com/pelton-run/pelton/platform/kit/rabbittest"
)

// What a consumer's process is told by its environment.
const (
	roleEnv  = "PELTON_CHAOS_ROLE"
	storeEnv = "PELTON_CHAOS_STORE"
	busEnv   = "PELTON_CHAOS_BUS"
)

const chaosExchange = "chaos.v1"

// chaosQueues: many at a time from any process, and one after the other in their order.
var chaosQueues = []bus.Queue{
	{Name: "sink.Thing", Exchange: chaosExchange, Keys: []string{"Thing"}, Prefetch: 16, Shared: true},
	{Name: "sink.Step", Exchange: chaosExchange, Keys: []string{"Step"}},
}

// consumerMain is a consumer's process: the effect of a message is a row, in the transaction that
// notes the message as seen.
func consumerMain() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	var pool *pg.Pool
	for pool == nil { // the database may be away just now
		var err error
		if pool, err = pg.Open(ctx, os.Getenv(storeEnv), pg.Options{MaxConns: 20}); err != nil && !bus.Wait(ctx, 100*time.Millisecond) {
			return 1
		}
	}
	b, err := rabbitbus.New(ctx, rabbitbus.Config{URL: os.Getenv(busEnv), Name: "chaos " + os.Getenv(roleEnv), Log: log})
	if err != nil {
		log.Error("no bus", "err", err)
		return 1
	}
	defer b.Close()
	for _, q := range chaosQueues {
		if err := b.Subscribe(ctx, q, func(ctx context.Context, m bus.Message) error {
			return pg.Translate(pg.InTx(ctx, pool, func(tx pgx.Tx) error {
				first, err := outbox.First(ctx, tx, q.Name, m.ID)
				if err == nil && first {
					_, err = tx.Exec(ctx, `INSERT INTO effects (queue, message) VALUES ($1, $2)`, q.Name, string(m.Body))
				}
				return err
			}), "effect")
		}); err != nil {
			log.Error("no queue", "err", err)
			return 1
		}
	}
	<-ctx.Done()
	return 0
}

// chaos is everything that the test starts and troubles.
type chaos struct {
	*testing.T
	rabbit    *rabbittest.Server
	postgres  *pgserver.Server
	store     string
	pool      *pg.Pool
	consumers [2]*exec.Cmd
}

func newChaos(t *testing.T) *chaos {
	t.Helper()
	c := &chaos{T: t, rabbit: rabbittest.New(t)}
	dir, err := os.MkdirTemp("", "pelton-chaos-") //nolint:usetesting // the database's user has to reach it
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	require.NoError(t, os.Chmod(dir, 0o755))
	c.postgres, err = pgserver.Start(t.Context(), pgserver.Config{Dir: dir, Databases: []string{"chaos"}})
	require.NoError(t, err)
	t.Cleanup(c.postgres.Stop)
	c.store = c.postgres.URL("chaos")
	c.pool, err = pg.Open(t.Context(), c.store, pg.Options{MaxConns: 20})
	require.NoError(t, err)
	t.Cleanup(c.pool.Close)
	require.NoError(t, pg.Migrate(t.Context(), c.pool, migrations, "testdata/migrations"))
	for _, sql := range []string{`CREATE TABLE effects (at bigint GENERATED ALWAYS AS IDENTITY, queue text, message text)`, `CREATE TABLE batches (n int PRIMARY KEY)`} {
		_, err = c.pool.Exec(t.Context(), sql)
		require.NoError(t, err)
	}
	for i := range c.consumers {
		c.startConsumer(i)
	}
	t.Cleanup(func() {
		for i := range c.consumers {
			c.killConsumer(i)
		}
	})
	return c
}

func (c *chaos) startConsumer(i int) {
	c.Helper()
	self, err := os.Executable()
	require.NoError(c, err)
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), roleEnv+"="+strconv.Itoa(i), storeEnv+"="+c.store, busEnv+"="+c.rabbit.URL())
	cmd.Stderr = c.Output()
	require.NoError(c, cmd.Start())
	c.consumers[i] = cmd
}

func (c *chaos) killConsumer(i int) {
	_ = c.consumers[i].Process.Kill()
	_ = c.consumers[i].Wait()
}

// troubles in the order of their first round; then they come at random.
func (c *chaos) troubles() []func() string {
	restart := func() { require.NoError(c, c.rabbit.Restart(c.Context())) }
	return []func() string{
		func() string {
			i := rand.IntN(len(c.consumers))
			c.killConsumer(i)
			c.startConsumer(i)
			return "consumer killed"
		},
		func() string {
			_, err := c.rabbit.Ctl(c.Context(), "close_all_connections", "trouble")
			require.NoError(c, err)
			return "connections closed"
		},
		func() string { c.rabbit.Kill(); restart(); return "broker killed" },
		func() string {
			if pid := c.postgres.PID(); pid > 0 {
				_ = syscall.Kill(pid, syscall.SIGKILL) // the server is started again
			}
			return "database killed"
		},
		func() string { c.rabbit.StopBroker(); restart(); return "broker restarted" },
	}
}

// count reads a number; the database may be away just now.
func (c *chaos) count(sql string, args ...any) (n int) {
	for {
		if err := c.pool.QueryRow(c.Context(), sql, args...).Scan(&n); err == nil {
			return n
		}
		if !bus.Wait(c.Context(), 50*time.Millisecond) {
			c.Fatal(c.Context().Err())
		}
	}
}

// produce writes batch after batch of messages, each in one transaction with the state that it
// stands for, and again when it is unknown whether that was committed.
func (c *chaos) produce(ctx context.Context, total int, notify func()) {
	const batch = 100
	for n := 0; n < total; n += batch {
		var messages []bus.Message
		for i := n; i < min(n+batch, total); i++ {
			key := "Thing"
			if i%10 == 0 {
				key = "Step"
			}
			messages = append(messages, bus.Message{ID: id.New(), Exchange: chaosExchange, Key: key, Body: fmt.Append(nil, i), At: time.Now()})
		}
		for ctx.Err() == nil {
			err := pg.InTx(ctx, c.pool, func(tx pgx.Tx) error {
				tag, err := tx.Exec(ctx, `INSERT INTO batches (n) VALUES ($1) ON CONFLICT DO NOTHING`, n)
				if err != nil || tag.RowsAffected() == 0 {
					return err
				}
				return outbox.Append(ctx, tx, messages...)
			})
			if err == nil || !bus.Wait(ctx, 50*time.Millisecond) {
				break
			}
		}
		notify()
	}
}

// TestChaos: messages through an outbox, RabbitMQ and two consumers' processes, while the broker and
// the database are killed and restarted, connections closed and consumers killed: each has its
// effect once, and those of an ordered queue in their order. PELTON_CHAOS_MESSAGES is how many.
func TestChaos(t *testing.T) {
	total := 6_000
	if testing.Short() {
		total = 2_000
	}
	if n, err := strconv.Atoi(os.Getenv("PELTON_CHAOS_MESSAGES")); err == nil {
		total = n
	}
	c := newChaos(t)
	expects := map[string]map[string][]string{chaosExchange: {"Thing": {"sink.Thing"}, "Step": {"sink.Step"}}}
	b, err := rabbitbus.New(t.Context(), rabbitbus.Config{URL: c.rabbit.URL(), Name: "chaos emits", Emits: []string{chaosExchange}, Expects: expects, Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(b.Close)
	r, _ := relay(t, c.pool, b)
	var producing sync.WaitGroup
	producing.Go(func() { c.produce(t.Context(), total, r.Notify) })

	started, made := time.Now(), map[string]int{}
	troubles := c.troubles()
	share := total / max(total/2000, len(troubles)+1) // between one trouble and the next
	for round := 0; ; round++ {
		before := c.count(`SELECT count(*) FROM effects`)
		if before >= total && round >= len(troubles) {
			break
		}
		next := rand.IntN(len(troubles))
		if round < len(troubles) {
			next = round
		}
		made[troubles[next]()]++
		// On to the next one once some have got through, or all.
		step := min(before+share, total)
		for c.count(`SELECT count(*) FROM effects`) < step {
			require.Less(t, time.Since(started), 30*time.Minute, "messages stopped getting through: %d of %d", c.count(`SELECT count(*) FROM effects`), total)
			bus.Wait(t.Context(), 50*time.Millisecond)
		}
	}
	producing.Wait()
	require.Eventually(t, func() bool { return c.count(`SELECT count(*) FROM outbox`) == 0 }, time.Minute, 20*time.Millisecond, "the outbox is empty")
	require.Equal(t, total, c.count(`SELECT count(*) FROM effects`), "effects")
	require.Equal(t, total, c.count(`SELECT count(DISTINCT message) FROM effects`), "messages with an effect")
	require.Zero(t, c.count(`SELECT count(*) FROM (SELECT message::int < lag(message::int) OVER (ORDER BY at) AS back FROM effects WHERE queue = 'sink.Step') s WHERE back`), "out of order")
	for _, q := range chaosQueues {
		letters, err := b.Dead(t.Context(), q.Name)
		require.NoError(t, err)
		require.Empty(t, letters)
	}
	t.Logf("%d messages in %s, each with one effect: %s", total, time.Since(started).Round(time.Second), strings.Trim(fmt.Sprint(made), "map[]"))
}
