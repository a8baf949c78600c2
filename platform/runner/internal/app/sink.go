package app

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"sync"
	"time"

	"github.com/pelton-run/pelton/platform/runner/internal/domain"
)

// attemptSink gathers what one attempt tells until it ends; only then the run's shard
// hears of it, once.
type attemptSink struct {
	sh        *shard
	run       *liveRun
	step      string
	stepIndex int32
	path      []int32
	attempt   int32
	execution string
	build     *domain.Build
	begun     time.Time
	skipLogs  int64

	mu       sync.Mutex // the shard reads phases and progress of attempts under way
	phases   []domain.Phase
	progress float64
	note     string
	outputs  []domain.Values
	size     int
	list     bool
	over     bool
}

// maxOutputs is how many bytes the outputs of one attempt may be together; each value is at
// most 64 KiB, so that this is a matter of long lists.
const maxOutputs = 64 << 20

func newSink(sh *shard, r *liveRun, d domain.Dispatch) *attemptSink {
	build := d.Build
	if build == nil {
		build = &domain.Build{Action: "workflow " + d.Workflow}
	}
	return &attemptSink{sh: sh, run: r, step: d.Step, stepIndex: d.StepIndex, path: d.Path, attempt: d.Attempt,
		execution: d.Execution, build: build, begun: sh.e.now(), skipLogs: r.logged[d.Execution]}
}

func (k *attemptSink) Phase(kind string, at time.Time) {
	k.mu.Lock()
	k.phases = append(k.phases, domain.Phase{Kind: kind, AtMicros: at.UnixMicro()})
	k.mu.Unlock()
	k.tell("phase")
}

func (k *attemptSink) Progress(fraction float64, note string) {
	k.mu.Lock()
	k.progress, k.note = fraction, note
	k.mu.Unlock()
	k.tell("progress")
}

// tell lets watchers know how far the attempt is.
func (k *attemptSink) tell(kind string) {
	if k.run.watched.Load() == 0 {
		return
	}
	k.sh.post(message{do: func(*shard) {
		a := &Attempt{Number: k.attempt, State: domain.AttemptStarted, Execution: k.execution, StartedAt: k.begun}
		k.fill(a)
		k.run.tell(RunEvent{Kind: kind, StepID: k.step, ItemPath: k.path, Attempt: a})
	}})
}

// fill adds what is known so far.
func (k *attemptSink) fill(a *Attempt) {
	k.mu.Lock()
	defer k.mu.Unlock()
	a.Phases = append([]domain.Phase(nil), k.phases...)
	a.Progress, a.Note = k.progress, k.note
}

func (k *attemptSink) Log(l domain.LogLine) {
	if k.skipLogs > 0 {
		k.skipLogs--
		return
	}
	k.sh.e.logs.add(k, l)
}

func (k *attemptSink) Output(o Output) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for name, v := range o.Values {
		k.size += len(name) + len(v)
	}
	if k.size > maxOutputs {
		k.outputs = nil // Ended tells why
		return
	}
	k.outputs = append(k.outputs, k.seal(o.Values))
	k.list = k.list || o.List
	if k.run.watched.Load() != 0 {
		k.tellOutput(o.List)
	}
}

// tellOutput lets watchers have the newest output at once. It needs k.mu.
func (k *attemptSink) tellOutput(list bool) {
	n := len(k.outputs) - 1
	part := &OutputPart{Attempt: k.attempt, Index: n, List: list, Values: domain.Mask(k.outputs[n:])[0]}
	k.sh.post(message{do: func(*shard) {
		k.run.tell(RunEvent{Kind: "output", StepID: k.step, ItemPath: k.path, Output: part})
	}})
}

// partial gives the results that have come so far of what will be a list, nil otherwise.
func (k *attemptSink) partial() []domain.Values {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.list {
		return nil
	}
	return domain.Mask(k.outputs[:len(k.outputs):len(k.outputs)])
}

// seal closes the passwords among outputs before anything is kept of them. One that cannot
// be sealed is not kept.
func (k *attemptSink) seal(v domain.Values) domain.Values {
	for _, it := range k.build.Outputs {
		if it.Type != "password" || v[it.Name] == nil {
			continue
		}
		sealed, err := k.sh.e.secrets.seal(k.run.s.Project, v[it.Name])
		if err != nil {
			k.sh.e.log.Error("an output of type password could not be sealed", "run", k.run.s.ID, "step", k.step, "error", err)
			sealed = domain.Value("null")
		}
		v = maps.Clone(v)
		v[it.Name] = sealed
	}
	return v
}

func (k *attemptSink) Ended(e Ended) {
	k.mu.Lock()
	if k.over {
		k.mu.Unlock()
		return
	}
	k.over = true
	if k.size > maxOutputs && e.Outcome == Completed {
		e.Outcome, e.Error = Failed, &domain.StepError{Kind: "value_too_large",
			Message: fmt.Sprintf("its outputs are more than %d MiB together: write large results to files", maxOutputs>>20)}
	}
	ev := &domain.EventAttempt{
		Step: k.stepIndex, Path: k.path, Attempt: k.attempt, Outcome: domainOutcome(e.Outcome), Err: e.Error,
		Outputs: k.outputs, IsList: k.list || e.List, Instance: e.Instance, Usage: e.Usage, Phases: k.phases,
	}
	k.mu.Unlock()
	k.sh.e.logs.ended(k)
	if m := k.sh.e.metrics.AttemptEnded; m != nil {
		m(k.build.Action, outcomeName(e.Outcome), k.sh.e.now().Sub(k.begun))
	}
	k.sh.post(message{sink: k, end: ev})
}

func (k *attemptSink) isOver() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.over
}

// fail ends an attempt that could not be sent.
func (k *attemptSink) fail(err error) {
	var se *domain.StepError
	if !errors.As(err, &se) {
		se = &domain.StepError{Kind: "internal", Message: err.Error()}
	}
	k.Ended(Ended{Outcome: Failed, Error: se})
}

func domainOutcome(o Outcome) domain.Outcome {
	switch o {
	case Completed:
		return domain.OutcomeCompleted
	case Cancelled:
		return domain.OutcomeCancelled
	case Lost:
		return domain.OutcomeLost
	case Unknown:
		return domain.OutcomeUnknown
	default:
		return domain.OutcomeFailed
	}
}

func outcomeName(o Outcome) string {
	return [...]string{"", "completed", "failed", "cancelled", "lost", "unknown"}[o]
}

// readBlob reads a value that an expression needs from the filestore.
func readBlob(ctx context.Context, files Files, project string, ref domain.BlobRef) (domain.Value, *domain.StepError) {
	bad := func(err error) (domain.Value, *domain.StepError) {
		return nil, &domain.StepError{Kind: "value_unavailable", Message: "the value " + ref.Digest + " could not be read from the filestore: " + err.Error()}
	}
	r, size, err := files.Open(ctx, project, ref.Digest)
	if err != nil {
		return bad(err)
	}
	defer func() { _ = r.Close() }()
	if size > domain.MaxLoaded {
		return nil, &domain.StepError{Kind: "value_too_large", Message: "a value that an expression reads is larger than 1 MiB: " + ref.Digest}
	}
	var b bytes.Buffer
	if _, err := io.Copy(&b, r); err != nil {
		return bad(err)
	}
	return b.Bytes(), nil
}
