package bench

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
)

// Steps is the length of the chains of floors and figures.
const Steps = 10

// Durable is the floor of durable chains: a worker, a table, and a loop.
type Durable struct {
	w    *worker
	conn *pgx.Conn
	next atomic.Int64

	mu    sync.Mutex
	queue []row
	wake  chan struct{}
}

type row struct {
	run  int64
	step int64
	data []byte
	done chan struct{}
}

const insert = "INSERT INTO floor_step (run, step, row) SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bytea[])"

// NewDurable starts a worker and makes the floor's table in the database at url.
func NewDurable(ctx context.Context, url string) (*Durable, error) {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return nil, err
	}
	for _, q := range []string{"DROP TABLE IF EXISTS floor_step", "CREATE TABLE floor_step (run bigint, step bigint, row bytea NOT NULL, PRIMARY KEY (run, step))"} {
		if _, err := conn.Exec(ctx, q); err != nil {
			return nil, err
		}
	}
	w, err := startWorker(ctx)
	if err != nil {
		return nil, err
	}
	return &Durable{w: w, conn: conn, wake: make(chan struct{}, 1)}, nil
}

// Close ends the worker and the connection.
func (d *Durable) Close() {
	d.w.close()
	_ = d.conn.Close(context.Background())
}

// result is as large as the journal row of a small step.
var result = make([]byte, 160)

// Commit makes one row durable and waits.
func (d *Durable) Commit(ctx context.Context) error {
	_, err := d.conn.Exec(ctx, insert, []int64{d.next.Add(1)}, []int64{0}, [][]byte{result})
	return err
}

// Call calls the worker once and waits.
func (d *Durable) Call() error { return d.w.call("a", 7) }

// Chain is one chain at concurrency 1: each step is called, then made durable. Its time in ms.
func (d *Durable) Chain(ctx context.Context) (float64, error) {
	start := time.Now()
	for range Steps {
		if err := d.Call(); err != nil {
			return 0, err
		}
		if err := d.Commit(ctx); err != nil {
			return 0, err
		}
	}
	return ms(time.Since(start)), nil
}

// Rate is chains per second with n at a time for a while: calls share the worker, rows share commits.
func (d *Durable) Rate(ctx context.Context, n int, span time.Duration) (float64, error) {
	stop := make(chan struct{})
	failed := make(chan error, 1)
	var writers sync.WaitGroup
	writers.Go(func() { d.w.pump(stop) })
	writers.Go(func() {
		if err := d.write(ctx, stop); err != nil {
			failed <- err
		}
	})
	var chains atomic.Int64
	var clients sync.WaitGroup
	start := time.Now()
	for range n {
		clients.Go(func() {
			done := make(chan struct{}, 1)
			for time.Since(start) < span {
				run := d.next.Add(1)
				for step := range Steps {
					d.w.ask(fmt.Sprintf("%d-%d", run, step), step, done)
					d.mu.Lock()
					d.queue = append(d.queue, row{run, int64(step), result, done})
					d.mu.Unlock()
					select {
					case d.wake <- struct{}{}:
					default:
					}
					<-done
				}
				chains.Add(1)
			}
		})
	}
	over := make(chan struct{})
	go func() { clients.Wait(); close(over) }()
	select {
	case <-over:
	case err := <-failed:
		return 0, err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	rate := float64(chains.Load()) / time.Since(start).Seconds()
	close(stop)
	writers.Wait()
	// The reader of pump ends with the worker: the next use has one of its own.
	d.w.close()
	var err error
	d.w, err = startWorker(ctx)
	return rate, err
}

// write commits in groups: what gathers while a commit is under way is the next one.
func (d *Durable) write(ctx context.Context, stop <-chan struct{}) error {
	var batch []row
	for {
		select {
		case <-stop:
			return nil
		case <-d.wake:
		}
		d.mu.Lock()
		batch, d.queue = d.queue, batch[:0]
		d.mu.Unlock()
		runs, steps, rows := make([]int64, len(batch)), make([]int64, len(batch)), make([][]byte, len(batch))
		for i, r := range batch {
			runs[i], steps[i], rows[i] = r.run, r.step, r.data
		}
		if len(batch) == 0 {
			continue
		}
		if _, err := d.conn.Exec(ctx, insert, runs, steps, rows); err != nil {
			return err
		}
		for _, r := range batch {
			r.done <- struct{}{}
		}
	}
}

func ms(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 }
