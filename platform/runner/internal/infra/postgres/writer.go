package postgres

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/pelton-run/pelton/platform/runner/internal/app"
)

// A batch holds at most this much; what comes on top goes into the next one.
const (
	batchEntries = 2000
	batchBytes   = 8 << 20
)

// Journal is the one writer of an incarnation: a goroutine that commits in groups.
type Journal struct {
	store *Store
	fence int64

	mu      sync.Mutex
	queue   []*app.Entry
	stopped bool
	wake    chan struct{}

	conn    *pgx.Conn     // the writer's own
	ids     []pgtype.UUID // reused between batches
	seqs    []int64
	rows    [][]byte
	commit  func(entries int, took time.Duration)
	stalled atomic.Pointer[error] // why writes have failed for a while
}

// NewJournal makes the writer of an incarnation. observe may be nil.
func (s *Store) NewJournal(fence int64, observe func(entries int, took time.Duration)) *Journal {
	return &Journal{store: s, fence: fence, wake: make(chan struct{}, 1), commit: observe}
}

// Append queues entries. See app.Journal.
func (j *Journal) Append(entries ...*app.Entry) {
	j.mu.Lock()
	if j.stopped {
		j.mu.Unlock()
		for _, e := range entries {
			e.Committed(e, app.ErrStopped)
		}
		return
	}
	j.queue = append(j.queue, entries...)
	j.mu.Unlock()
	select {
	case j.wake <- struct{}{}:
	default:
	}
}

// Run writes until ctx is done. What is queued then is still written, if the database
// answers within a moment. See app.Journal.
func (j *Journal) Run(ctx context.Context) error {
	defer j.release()
	// A commit under way is not cut short by ctx, only by a database that does not answer.
	io, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	defer context.AfterFunc(ctx, func() {
		t := time.AfterFunc(3*time.Second, cut)
		context.AfterFunc(io, func() { t.Stop() })
	})()
	var err error
	for err == nil {
		batch := j.take()
		if len(batch) > 0 {
			err = j.write(io, batch)
			continue
		}
		select {
		case <-ctx.Done():
			err = ctx.Err()
		case <-j.wake:
		}
	}
	if !errors.Is(err, app.ErrFenced) {
		err = io.Err()
		for batch := j.take(); len(batch) > 0 && err == nil; batch = j.take() {
			err = j.write(io, batch)
		}
	}
	j.mu.Lock()
	rest := j.queue
	j.queue, j.stopped = nil, true
	j.mu.Unlock()
	for _, e := range rest {
		e.Committed(e, app.ErrStopped)
	}
	if errors.Is(err, app.ErrFenced) {
		return err
	}
	return nil
}

func (j *Journal) take() []*app.Entry {
	j.mu.Lock()
	defer j.mu.Unlock()
	n, size := 0, 0
	for n < len(j.queue) && n < batchEntries && (n == 0 || size < batchBytes) {
		size += len(j.queue[n].Row) + len(j.queue[n].Snapshot)
		n++
	}
	batch := j.queue[:n:n]
	if n == len(j.queue) {
		j.queue = nil
	} else {
		j.queue = j.queue[n:]
	}
	return batch
}

// write commits a batch, however long that takes, and tells each entry. It returns
// ErrFenced, or ctx's error; entries are told then too.
func (j *Journal) write(ctx context.Context, batch []*app.Entry) error {
	begun := time.Now()
	resend := false
	for wait := 10 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		err := j.try(ctx, batch, resend)
		switch {
		case err == nil:
			if j.commit != nil {
				j.commit(len(batch), time.Since(begun))
			}
			if resend {
				j.stalled.Store(nil)
			}
			tell(batch, nil)
			if slices.ContainsFunc(batch, func(e *app.Entry) bool { return len(e.Messages) > 0 }) {
				j.store.notify()
			}
			return nil
		case isCode(err, "PF001"):
			tell(batch, app.ErrFenced)
			return app.ErrFenced
		case refused(err):
			return j.bisect(ctx, batch, err)
		}
		// The connection broke or the server is in trouble: whether the batch was committed
		// is not known, so it is sent again in a form that changes nothing if it was.
		resend = true
		if time.Since(begun) > time.Second {
			j.stalled.Store(&err)
		}
		j.release()
		j.store.log.Warn("the journal waits for the database", "entries", len(batch), "error", err)
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			tell(batch, app.ErrStopped)
			return ctx.Err()
		case <-t.C:
		}
	}
}

// Stalled implements app.Journal.
func (j *Journal) Stalled() error {
	if err := j.stalled.Load(); err != nil {
		return *err
	}
	return nil
}

// bisect finds the entry that the database refuses; the others are committed.
func (j *Journal) bisect(ctx context.Context, batch []*app.Entry, cause error) error {
	if len(batch) == 1 {
		if isCode(cause, "PF002") {
			cause = app.ErrDuplicate
		}
		tell(batch, cause)
		return nil
	}
	half := len(batch) / 2
	if err := j.write(ctx, batch[:half]); err != nil {
		tell(batch[half:], err)
		return err
	}
	return j.write(ctx, batch[half:])
}

func tell(batch []*app.Entry, err error) {
	for _, e := range batch {
		e.Committed(e, err)
	}
}

// try sends one batch as one pipelined, implicit transaction: a single round trip.
func (j *Journal) try(ctx context.Context, batch []*app.Entry, resend bool) error {
	if j.conn == nil {
		conn, err := j.store.pool.Acquire(ctx)
		if err != nil {
			return err
		}
		// A few rows of large tables are looked up each time; a plan made while they were small must not stay.
		own := conn.Hijack()
		if _, err := own.Exec(ctx, "SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off"); err != nil {
			_ = own.Close(ctx)
			return err
		}
		j.conn = own
	}
	b := &pgx.Batch{}
	plain, err := j.fill(b, batch, resend)
	if err != nil {
		return err
	}
	if plain && !resend {
		// The fast path: the fence is held by the insert itself, one statement.
		tag, err := j.conn.Exec(ctx, j.store.q["append_rows"], j.fence, pgtype.FlatArray[pgtype.UUID](j.ids), j.seqs, j.rows)
		if err == nil && tag.RowsAffected() != int64(len(batch)) {
			return &pgconn.PgError{Code: "PF001", Message: "the incarnation has been taken over"}
		}
		return err
	}
	return j.conn.SendBatch(ctx, b).Close()
}

// fill makes the statements of a batch; plain tells that it holds journal rows only.
func (j *Journal) fill(b *pgx.Batch, batch []*app.Entry, resend bool) (plain bool, err error) {
	q := j.store.q
	j.ids, j.seqs, j.rows = j.ids[:0], j.seqs[:0], j.rows[:0]
	var starts, whole startColumns
	var ends, wholeEnds endColumns
	var refs refColumns
	var waits waitColumns
	var snapshots snapshotColumns
	var told messageColumns
	var commands []string
	var claims, cursors, rates []*app.Entry
	plain = true
	short := shortRuns(batch)
	for _, e := range batch {
		id, err := uuid.Parse(e.Run)
		if err != nil {
			return false, &pgconn.PgError{Code: "22P02", Message: "run id " + e.Run + " is no UUID"}
		}
		if e.Row != nil {
			j.ids = append(j.ids, pgtype.UUID{Bytes: id, Valid: true})
			j.seqs = append(j.seqs, e.Seq)
			j.rows = append(j.rows, e.Row)
			refs.add(id, e.Row)
		} else {
			plain = false
		}
		switch {
		case e.Start != nil && e.End != nil:
			whole.add(id, e.Start)
			wholeEnds.add(id, e)
		case e.Start != nil && short[e.Run] != nil:
			whole.add(id, e.Start)
			wholeEnds.add(id, short[e.Run])
		case e.End != nil && short[e.Run] == e:
			// written with its start
		case e.Start != nil:
			starts.add(id, e.Start)
		case e.End != nil:
			ends.add(id, e)
		}
		if e.Sleep != nil || e.Wake || e.State != "" || e.Waits != nil {
			waits.add(id, e)
		}
		if e.Snapshot != nil {
			snapshots.add(id, e)
		}
		told.add(e.Messages)
		if e.Command != "" {
			commands = append(commands, e.Command)
		}
		if e.Dedup != nil {
			claims = append(claims, e)
		}
		if e.Cursor != nil {
			cursors = append(cursors, e)
		}
		if e.Rate != nil {
			rates = append(rates, e)
		}
	}
	if plain && !resend && waits.empty() && len(refs.run)+len(starts.id)+len(whole.id)+len(ends.id)+len(commands)+len(claims)+len(cursors)+len(rates)+len(snapshots.ids)+len(told.id) == 0 {
		return true, nil
	}
	b.Queue(q["hold_fence"], j.fence)
	for _, e := range claims {
		b.Queue(q["claim_key"], e.Dedup.Scope, e.Dedup.Key, e.Run, nonNil(e.Dedup.Body), e.Dedup.Expires)
	}
	insert := q["insert_rows"]
	if resend {
		insert = q["resend_rows"]
	}
	if len(j.ids) > 0 {
		b.Queue(insert, pgtype.FlatArray[pgtype.UUID](j.ids), j.seqs, j.rows)
	}
	starts.queue(b, q, j.fence)
	whole.queueEnded(b, q, &wholeEnds)
	refs.queue(b, q) // of runs that are there
	for _, e := range cursors {
		b.Queue(q["put_cursor"], e.Cursor.Deployment, e.Cursor.Trigger, nonNil(e.Cursor.Cursor))
	}
	// In one order, since other replicas' writers take from the same rates.
	slices.SortFunc(rates, func(a, b *app.Entry) int {
		return cmp.Or(strings.Compare(a.Rate.Project, b.Rate.Project), strings.Compare(a.Rate.Key, b.Rate.Key))
	})
	for _, e := range rates {
		b.Queue(q["use_rate"], e.Rate.Project, e.Rate.Key, e.Rate.Every)
	}
	waits.queue(b, q)
	snapshots.queue(b, q)
	told.queue(b, q)
	if len(commands) > 0 {
		b.Queue(q["delete_commands"], commands)
	}
	ends.queue(b, q)
	return false, nil
}

// shortRuns are the ends of the runs that start and end in one batch with nothing of note in between: one row
// of each is written, instead of one that is changed right away and another that comes and goes.
func shortRuns(batch []*app.Entry) map[string]*app.Entry {
	var ends map[string]*app.Entry
	for _, e := range batch {
		if e.End != nil && e.Start == nil && !e.Waited {
			if ends == nil {
				ends = map[string]*app.Entry{}
			}
			ends[e.Run] = e
		}
	}
	if ends == nil {
		return nil
	}
	started := map[string]bool{}
	for _, e := range batch {
		switch {
		case ends[e.Run] == nil:
		case e.Sleep != nil || e.Wake || e.State != "" || e.Waits != nil || e.Snapshot != nil:
			delete(ends, e.Run)
		case e.Start != nil:
			started[e.Run] = true
		}
	}
	for run := range ends {
		if !started[run] {
			delete(ends, run)
		}
	}
	return ends
}

// endColumns gathers ended runs by column.
type endColumns struct {
	id, waited                              []pgtype.UUID
	state, kind, message, step, fingerprint []string
	finished                                []time.Time
	cpu                                     []int64
	gib                                     []float64
}

func (c *endColumns) add(id uuid.UUID, x *app.Entry) {
	e, key := x.End, pgtype.UUID{Bytes: id, Valid: true}
	c.id = append(c.id, key)
	if x.Waited {
		c.waited = append(c.waited, key)
	}
	c.state = append(c.state, string(e.State))
	c.kind = append(c.kind, text(e.ErrorKind))
	c.message = append(c.message, text(e.Error))
	c.step = append(c.step, text(e.ErrorStep))
	c.fingerprint = append(c.fingerprint, e.Fingerprint)
	c.finished = append(c.finished, e.FinishedAt)
	c.cpu = append(c.cpu, e.CPUMicros)
	c.gib = append(c.gib, e.GiBSeconds)
}

func (c *endColumns) queue(b *pgx.Batch, q map[string]string) {
	if len(c.id) == 0 {
		return
	}
	// The span of ids lets the server skip the partitions of other days.
	least, most := c.id[0], c.id[0]
	for _, id := range c.id {
		if bytes.Compare(id.Bytes[:], least.Bytes[:]) < 0 {
			least = id
		}
		if bytes.Compare(id.Bytes[:], most.Bytes[:]) > 0 {
			most = id
		}
	}
	b.Queue(q["end_runs"], pgtype.FlatArray[pgtype.UUID](c.id), c.state, c.finished, c.kind, c.message, c.step, c.fingerprint, c.cpu, c.gib, least, most)
	if len(c.waited) > 0 {
		b.Queue(q["end_waits"], pgtype.FlatArray[pgtype.UUID](c.waited))
	}
}

// startColumns gathers new runs by column.
type startColumns struct {
	id, deployment                                               []pgtype.UUID
	project, workflow, revisionID, state, triggerKind, triggerID []string
	revision                                                     []int32
	created                                                      []time.Time
	retryOf, parent                                              []pgtype.UUID
	tags                                                         []string
}

func (c *startColumns) add(id uuid.UUID, r *app.RunSummary) {
	dep, _ := uuid.Parse(r.Deployment)
	c.id = append(c.id, pgtype.UUID{Bytes: id, Valid: true})
	c.deployment = append(c.deployment, pgtype.UUID{Bytes: dep, Valid: true})
	c.project = append(c.project, r.Project)
	c.workflow = append(c.workflow, r.Workflow)
	c.revision = append(c.revision, int32(r.Revision))
	c.revisionID = append(c.revisionID, r.RevisionID)
	c.state = append(c.state, string(r.State))
	c.triggerKind = append(c.triggerKind, text(r.Trigger.Kind))
	c.triggerID = append(c.triggerID, text(r.Trigger.ID))
	c.created = append(c.created, r.CreatedAt)
	c.retryOf = append(c.retryOf, nullID(r.RetryOf))
	c.parent = append(c.parent, nullID(r.Parent))
	c.tags = append(c.tags, tagsText(r.Tags))
}

func (c *startColumns) queue(b *pgx.Batch, q map[string]string, owner int64) {
	if len(c.id) == 0 {
		return
	}
	ids := pgtype.FlatArray[pgtype.UUID](c.id)
	b.Queue(q["insert_runs"], ids, c.project, c.workflow, c.revision, c.revisionID, pgtype.FlatArray[pgtype.UUID](c.deployment),
		c.state, c.triggerKind, c.triggerID, c.created, pgtype.FlatArray[pgtype.UUID](c.retryOf), c.tags, pgtype.FlatArray[pgtype.UUID](c.parent))
	b.Queue(q["insert_live"], ids, owner)
}

// queueEnded is for runs that are written when they have ended, as one row each.
func (c *startColumns) queueEnded(b *pgx.Batch, q map[string]string, e *endColumns) {
	if len(c.id) == 0 {
		return
	}
	b.Queue(q["insert_ended_runs"], pgtype.FlatArray[pgtype.UUID](c.id), c.project, c.workflow, c.revision, c.revisionID, pgtype.FlatArray[pgtype.UUID](c.deployment),
		e.state, c.triggerKind, c.triggerID, c.created, pgtype.FlatArray[pgtype.UUID](c.retryOf), c.tags,
		e.finished, e.kind, e.message, e.step, e.fingerprint, e.cpu, e.gib, pgtype.FlatArray[pgtype.UUID](c.parent))
}

func (j *Journal) release() {
	if j.conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = j.conn.Close(ctx)
	j.conn = nil
}

// text makes a string that PostgreSQL takes: valid UTF-8 without NUL.
func text(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

func nonNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

func isCode(err error, code string) bool {
	var p *pgconn.PgError
	return errors.As(err, &p) && p.Code == code
}

// refused tells that the database will never take this batch, however often it is sent:
// bad data, a broken rule, a statement too large, a key that is taken.
func refused(err error) bool {
	var p *pgconn.PgError
	if !errors.As(err, &p) || len(p.Code) < 2 {
		return false
	}
	switch p.Code[:2] {
	case "21", "22", "23", "42", "44", "54", "PF", "P0":
		return true
	}
	return false
}
