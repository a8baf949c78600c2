package postgres

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/klauspost/compress/zstd"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/kit/pg"
	"github.com/pelton-run/pelton/platform/runner/internal/app"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
)

// AppendLogs writes chunks in one transaction; chunks that are there already stay.
func (s *Store) AppendLogs(ctx context.Context, chunks []app.LogChunk) error {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		return fault.Wrap(err, fault.Internal, "compress logs")
	}
	defer func() { _ = enc.Close() }()
	b := &pgx.Batch{}
	for _, c := range chunks {
		if len(c.Lines) == 0 {
			continue
		}
		path := c.Path
		if path == nil {
			path = []int32{}
		}
		b.Queue(s.q["insert_logs"], c.Run, c.Cursors[0], c.Cursors[len(c.Cursors)-1], len(c.Lines), c.Step, path, c.Attempt,
			enc.EncodeAll(encodeLines(c), nil))
	}
	return pg.Translate(s.pool.SendBatch(ctx, b).Close(), "log")
}

// logPage is how many chunks are read at a time.
const logPage = 32

// Logs reads records after a cursor. Chunks overlap, so reading goes on until no chunk can
// hold a record before the last one of the page.
func (s *Store) Logs(ctx context.Context, q app.LogQuery) ([]app.LogRecord, error) {
	if err := isID(q.Run, "run"); err != nil {
		return nil, err
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(64<<20))
	if err != nil {
		return nil, fault.Wrap(err, fault.Internal, "read logs")
	}
	defer dec.Close()
	out := []app.LogRecord{}
	for from := int64(0); ; {
		chunks, err := collect[chunkRow](ctx, s, "log", "logs", q.Run, q.After, q.Step, q.ItemPath, q.Attempt, from, logPage)
		if err != nil {
			return nil, err
		}
		for _, c := range chunks {
			if len(out) >= q.Limit {
				sortRecords(out)
				if out[q.Limit-1].Cursor < c.First {
					return out[:q.Limit], nil
				}
			}
			plain, err := dec.DecodeAll(c.Body, nil)
			if err == nil {
				out, err = decodeLines(plain, app.LogRecord{Step: c.Step, ItemPath: c.Path, Attempt: c.Attempt}, q.After, out)
			}
			if err != nil {
				return nil, fault.Wrap(err, fault.Internal, "read the log of run %s", q.Run)
			}
			from = c.First
		}
		if len(chunks) < logPage {
			sortRecords(out)
			return out[:min(len(out), q.Limit)], nil
		}
	}
}

type chunkRow struct {
	First   int64
	Step    string
	Path    []int32
	Attempt int32
	Body    []byte
}

func sortRecords(r []app.LogRecord) {
	slices.SortFunc(r, func(a, b app.LogRecord) int { return int(a.Cursor - b.Cursor) })
}

// encodeLines writes a version byte, then per line: cursor and time as differences, stream,
// level, dropped count and text.
func encodeLines(c app.LogChunk) []byte {
	b := []byte{1}
	str := func(s string) {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	var cursor, at int64
	for i, l := range c.Lines {
		b = binary.AppendVarint(b, c.Cursors[i]-cursor)
		b = binary.AppendVarint(b, l.AtMicros-at)
		cursor, at = c.Cursors[i], l.AtMicros
		str(l.Stream)
		str(l.Level)
		b = binary.AppendUvarint(b, l.Dropped)
		str(l.Line)
	}
	return b
}

var errChunk = errors.New("the chunk is damaged")

func decodeLines(b []byte, rec app.LogRecord, after int64, out []app.LogRecord) ([]app.LogRecord, error) {
	if len(b) == 0 || b[0] != 1 {
		return out, errChunk
	}
	b = b[1:]
	ok := true
	num := func() int64 {
		v, n := binary.Varint(b)
		if n <= 0 {
			ok, b = false, nil
			return 0
		}
		b = b[n:]
		return v
	}
	unum := func() uint64 {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			ok, b = false, nil
			return 0
		}
		b = b[n:]
		return v
	}
	str := func() string {
		n := unum()
		if n > uint64(len(b)) {
			ok, b = false, nil
			return ""
		}
		v := string(b[:n])
		b = b[n:]
		return v
	}
	var cursor, at int64
	for len(b) > 0 {
		cursor += num()
		at += num()
		rec.Cursor = cursor
		rec.LogLine = domain.LogLine{AtMicros: at, Stream: str(), Level: str(), Dropped: unum(), Line: str()}
		if !ok {
			return out, errChunk
		}
		if cursor > after {
			out = append(out, rec)
		}
	}
	return out, nil
}
