package app

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"time"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
)

// The collector of files. A blob goes when three things hold: it was last put, or put again, longer
// ago than the grace; nothing has mentioned it for as long, as two sweeps have found; and it is not
// put again while it goes. What mentions a blob is written in the transaction that makes the mention
// durable (a journal row with its refs), so that a sweep never reads a journal. The grace covers
// whatever is only in memory: an upload whose run is still to be started, the output of a step that is
// still to be journalled, a value on its way from a run that is being removed to a new one. Who is
// given a mention from outside (inputs, signals, variables) puts the blob again first: Files.Keep.

// Sum is the SHA-256 of a blob.
type Sum [32]byte

// Digest is the sum as values have it.
func (s Sum) Digest() string { return digestPrefix + hex.EncodeToString(s[:]) }

// FileRef is a mention of a blob.
type FileRef struct {
	Sum Sum
	// Text tells that the blob may be a value by reference, whose content may mention others. False:
	// it was mentioned as a file or a directory.
	Text bool
}

const digestPrefix = "sha256:"

var filePrefixes = [][]byte{[]byte(`"$file":"`), []byte(`"$dir":"`), []byte(`"$file": "`), []byte(`"$dir": "`)}

// FileRefs finds every digest in a text, whatever stands around it: what merely looks like a mention
// keeps a blob for longer, which harms nobody.
func FileRefs(b []byte) (refs []FileRef) {
	for from := 0; ; {
		i := bytes.Index(b[from:], []byte(digestPrefix))
		if i < 0 {
			return refs
		}
		at := from + i
		from = at + len(digestPrefix)
		var r FileRef
		if len(b)-from < 2*len(r.Sum) {
			return refs
		}
		if _, err := hex.Decode(r.Sum[:], b[from:from+2*len(r.Sum)]); err != nil {
			continue
		}
		from += 2 * len(r.Sum)
		r.Text = true
		for _, p := range filePrefixes {
			if bytes.HasSuffix(b[:at], p) {
				r.Text = false
			}
		}
		refs = append(refs, r)
	}
}

// maxRef is the length of the longest mention.
const maxRef = len(`"$file": "`) + len(digestPrefix) + 2*len(Sum{})

// FileIndex knows which blobs are mentioned. Journals add to it by themselves.
type FileIndex interface {
	// RenewLoose finds what is mentioned outside of runs: in variables, kept outputs, definitions,
	// inboxes and cursors.
	RenewLoose(ctx context.Context, project string) error
	// UnreadTexts lists mentioned texts whose own mentions are not known yet, in order, after one.
	UnreadTexts(ctx context.Context, project string, after Sum, limit int) ([]Sum, error)
	// PutTextRefs makes them known, for as long as the holder is not forgotten.
	PutTextRefs(ctx context.Context, project string, holder Sum, refs []FileRef) error
	// Suspect notes at a time which of the listed blobs nothing mentions, and answers with those of
	// which that has been noted before the other time, and held in every sweep since.
	Suspect(ctx context.Context, project string, listed []Sum, now, before time.Time) (due []Sum, err error)
	// ForgetFile forgets a blob that is about to go, with what it mentions.
	ForgetFile(ctx context.Context, project string, file Sum) error
}

// fileBatch is how many blobs are asked about at a time.
const fileBatch = 1000

// collectFiles removes blobs that nothing kept mentions.
func (s *Service) collectFiles(ctx context.Context, now time.Time, w *Swept) error {
	projects, err := s.deps.Files.Projects(ctx)
	if err != nil {
		return err
	}
	before := now.Add(-s.cfg.Retention.Files)
	for _, p := range projects {
		if err := s.deps.Files.Tidy(ctx, p, before); err != nil {
			return err
		}
		if err := s.deps.Store.RenewLoose(ctx, p); err != nil {
			return err
		}
		if err := s.readTexts(ctx, p); err != nil {
			return err
		}
		var listed []Sum
		flush := func() error {
			due, err := s.deps.Store.Suspect(ctx, p, listed, now, before)
			listed = listed[:0]
			if err != nil {
				return err
			}
			return s.removeFiles(ctx, p, due, before, w)
		}
		sizes := func(digest string, _ int64) error {
			if refs := FileRefs([]byte(digest)); len(refs) == 1 {
				listed = append(listed, refs[0].Sum)
			}
			if len(listed) < fileBatch {
				return ctx.Err()
			}
			return flush()
		}
		if err := s.deps.Files.Old(ctx, p, before, sizes); err != nil {
			return err
		}
		if err := flush(); err != nil {
			return err
		}
	}
	return nil
}

// removeFiles removes blobs. One is forgotten first: a crash before it goes lets it be found anew,
// one after it leaves nothing behind that would keep what it mentions.
func (s *Service) removeFiles(ctx context.Context, project string, due []Sum, before time.Time, w *Swept) error {
	for _, sum := range due {
		if err := s.deps.Store.ForgetFile(ctx, project, sum); err != nil {
			return err
		}
		size, gone, err := s.deps.Files.Remove(ctx, project, sum.Digest(), before)
		if err != nil {
			return err
		}
		if gone {
			w.Files++
			w.Bytes += size
		}
	}
	return nil
}

// readTexts reads every mentioned text that has not been read, and those that they mention.
func (s *Service) readTexts(ctx context.Context, project string) error {
	for more := true; more; {
		more = false
		for after := (Sum{}); ; {
			page, err := s.deps.Store.UnreadTexts(ctx, project, after, fileBatch)
			if err != nil {
				return err
			}
			for _, sum := range page {
				after = sum
				refs, err := s.textRefs(ctx, project, sum)
				if fault.Is(err, fault.NotFound) {
					continue // no value: it only looked like one
				}
				if err != nil {
					return err
				}
				if err := s.deps.Store.PutTextRefs(ctx, project, sum, refs); err != nil {
					return err
				}
				more = true
			}
			if len(page) < fileBatch {
				break
			}
		}
	}
	return nil
}

// textRefs reads a text of any size for what it mentions.
func (s *Service) textRefs(ctx context.Context, project string, sum Sum) ([]FileRef, error) {
	f, _, err := s.deps.Files.Open(ctx, project, sum.Digest())
	if err != nil {
		return nil, err
	}
	defer f.Close()
	seen := map[FileRef]bool{}
	buf := make([]byte, 256<<10)
	for have := 0; ; {
		n, err := io.ReadFull(f, buf[have:])
		for _, r := range FileRefs(buf[:have+n]) {
			seen[r] = true
		}
		if err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				break
			}
			return nil, err
		}
		have = copy(buf, buf[len(buf)-maxRef:]) // one may lie across the border
	}
	refs := make([]FileRef, 0, len(seen))
	for r := range seen {
		refs = append(refs, r)
	}
	return refs, nil
}

// keepGiven keeps the files that a new run is given.
func (s *Service) keepGiven(ctx context.Context, o StartRun, inputs domain.Values) error {
	if err := s.keepFiles(ctx, o.Project, o.event()); err != nil {
		return err
	}
	for _, v := range inputs {
		if err := s.keepFiles(ctx, o.Project, v); err != nil {
			return err
		}
	}
	return nil
}

// keepFiles puts again whatever values given from outside mention, so that no sweep takes it before
// the mention is durable. What is not there is left to whoever reads it.
func (s *Service) keepFiles(ctx context.Context, project string, values ...domain.Value) error {
	for _, v := range values {
		for _, r := range FileRefs(v) {
			if _, err := s.deps.Files.Keep(ctx, project, r.Sum.Digest()); err != nil {
				return err
			}
		}
	}
	return nil
}
