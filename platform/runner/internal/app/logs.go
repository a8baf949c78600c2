package app

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/pelton-run/pelton/platform/runner/internal/domain"
)

// Log records are cut into chunks of one attempt. A chunk is closed when it is this large
// or this old, or when its attempt ends.
const (
	logChunkBytes = 64 << 10
	logChunkAge   = 100 * time.Millisecond
	logBacklog    = 64 << 20 // beyond this, senders wait: nothing is dropped here
)

// logWriter numbers log records in order of arrival and writes them in chunks, on a
// connection of its own so that chatty steps never hold up the journal.
type logWriter struct {
	store Store
	log   *slog.Logger
	mu    sync.Mutex
	room  *sync.Cond
	open  map[*attemptSink]*openChunk
	full  []LogChunk
	bytes int
	wake  chan struct{}
	over  bool

	writing sync.Mutex // one write at a time, so that chunks arrive in the order of their cursors
}

type openChunk struct {
	LogChunk
	size int
}

func newLogWriter(store Store, log *slog.Logger) *logWriter {
	w := &logWriter{store: store, log: log, open: map[*attemptSink]*openChunk{}, wake: make(chan struct{}, 1)}
	w.room = sync.NewCond(&w.mu)
	return w
}

// add takes one record. Where others may act for the run by now, it is theirs to write.
func (w *logWriter) add(k *attemptSink, l domain.LogLine) {
	if !k.sh.e.held() {
		return
	}
	w.mu.Lock()
	for w.bytes > logBacklog && !w.over {
		w.room.Wait()
	}
	n := k.run.logSeq.Add(1)
	c := w.open[k]
	if c == nil {
		c = &openChunk{LogChunk: LogChunk{Run: k.run.s.ID, Step: k.step, Path: k.path, Attempt: k.attempt}}
		w.open[k] = c
	}
	c.Lines = append(c.Lines, l)
	c.Cursors = append(c.Cursors, n)
	c.size += len(l.Line) + 32
	w.bytes += len(l.Line) + 32
	if c.size >= logChunkBytes {
		w.close(k, c)
	}
	w.mu.Unlock()
	w.poke()
	if f := &k.sh.e.feed; f.watched() {
		rec := &LogRecord{Cursor: n, Step: k.step, ItemPath: k.path, Attempt: k.attempt, LogLine: l}
		f.tell(k.run.summary.Project, ProjectEvent{Kind: "log", ID: k.run.s.ID, Of: k.run.summary.Workflow, Log: rec})
	}
	if k.run.watched.Load() > 0 {
		rec := &LogRecord{Cursor: n, Step: k.step, ItemPath: k.path, Attempt: k.attempt, LogLine: l}
		k.sh.post(message{do: func(*shard) { k.run.tell(RunEvent{Kind: "log", StepID: k.step, ItemPath: k.path, Log: rec}) }})
	}
}

func (w *logWriter) close(k *attemptSink, c *openChunk) {
	w.full = append(w.full, c.LogChunk)
	delete(w.open, k)
}

// ended closes the attempt's chunk.
func (w *logWriter) ended(k *attemptSink) {
	w.mu.Lock()
	c := w.open[k]
	if c != nil {
		w.close(k, c)
	}
	w.mu.Unlock()
	if c != nil {
		w.poke()
	}
}

func (w *logWriter) poke() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// loop writes until ctx is done, then once more what is left.
func (w *logWriter) loop(ctx context.Context) {
	// A write under way is not cut off by the end, since what it has taken is nowhere else: it has
	// five seconds more.
	late, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(5*time.Second, cancel) })()
	w.mu.Lock()
	w.over = false
	w.mu.Unlock()
	for {
		select {
		case <-ctx.Done():
			w.mu.Lock()
			w.over = true
			w.room.Broadcast()
			w.mu.Unlock()
			w.flush(late)
			return
		case <-w.wake:
		}
		age := time.NewTimer(logChunkAge)
		select {
		case <-age.C:
		case <-ctx.Done():
			age.Stop()
			continue // the last write above takes what there is
		}
		w.flush(late)
	}
}

// flush writes every record that was taken up to now: what a reader asks for, and what is left.
func (w *logWriter) flush(ctx context.Context) {
	w.writing.Lock()
	defer w.writing.Unlock()
	w.write(ctx, w.take())
}

// take closes every chunk: what is written together holds every record up to a point, so
// that a reader's cursor never passes a record that is not there yet.
func (w *logWriter) take() []LogChunk {
	w.mu.Lock()
	defer w.mu.Unlock()
	for k, c := range w.open {
		w.close(k, c)
	}
	out := w.full
	w.full, w.bytes = nil, 0
	w.room.Broadcast()
	return out
}

// write retries until the database answers: a log is late then, not gone.
func (w *logWriter) write(ctx context.Context, chunks []LogChunk) {
	if len(chunks) == 0 {
		return
	}
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		err := w.store.AppendLogs(ctx, chunks)
		if err == nil {
			return
		}
		w.log.Warn("logs are late: the database does not take them", "chunks", len(chunks), "error", err)
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
	}
}
