package domain_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/runner/internal/domain"
)

// driver plays the engine and its compute, and fails the test on any broken promise.
type driver struct {
	t        *testing.T
	rnd      *rand.Rand
	w        world
	plan     *domain.Plan
	s        *domain.State
	now      time.Time
	due      int64
	journal  [][]byte  // durable
	pending  []pending // handed to the journal, not durable yet
	flying   map[string]*flight
	lost     map[string]int // by step run: attempts that were lost
	done     map[string]bool
	crashes  int
	rowLimit int
	lean     int
	snap     []byte // the newest durable snapshot, of the first snapRows rows
	snapRows int
	cancel   int    // turns until the run is cancelled, 0 = never
	holder   string // who holds the one place
	wants    []place
	asks     []place
	handler  bool
	pauses   int
}

// place is a step run that waits for something.
type place struct {
	step int32
	path []int32
	ask  int32
}

func (d *driver) name(p place) string { return fmt.Sprint(d.plan.Nodes[p.step].Spec.ID, p.path) }

type pending struct {
	row  []byte
	snap []byte // the state with the row, nil = none was taken
	cmds []domain.Command
}

type flight struct {
	d     domain.Dispatch
	heard bool // the engine of now listens
	ended *domain.EventAttempt
}

func (d *driver) handle(ev domain.Event) {
	tr, err := d.s.Handle(ev, d.now, d.rnd.Float64())
	require.NoError(d.t, err)
	if tr.Due > 0 && (d.due == 0 || tr.Due < d.due) {
		d.due = tr.Due
	}
	if tr.Row == nil && len(d.pending) == 0 {
		d.carryOut(tr.Commands)
		return
	}
	p := pending{row: tr.Row, cmds: tr.Commands}
	if tr.Row != nil && !d.s.Status.Ended() && d.rnd.IntN(4) == 0 {
		p.snap = d.s.Snapshot()
	}
	d.pending = append(d.pending, p)
}

// commit makes the oldest row durable and acts upon it.
func (d *driver) commit() {
	d.carryOut(d.write().cmds)
}

// write makes the oldest row durable.
func (d *driver) write() pending {
	p := d.pending[0]
	d.pending = d.pending[1:]
	if p.row != nil {
		d.journal = append(d.journal, p.row)
	}
	if p.snap != nil {
		d.snap, d.snapRows = p.snap, len(d.journal)
	}
	return p
}

func (d *driver) carryOut(cmds []domain.Command) {
	for _, c := range cmds {
		switch c.Kind {
		case domain.CommandStart:
			d.start(c)
		case domain.CommandAttach:
			d.attach(c)
		case domain.CommandContinue:
			d.handle(domain.EventContinue{})
		case domain.CommandForget:
			id, _, _ := d.s.Target(c)
			delete(d.flying, id)
		default:
			d.around(c)
		}
	}
}

// around plays the limits, the cache, people and the failure handler.
func (d *driver) around(c domain.Command) {
	if c.Kind == domain.CommandHandle {
		d.handler = true
		return
	}
	if c.Kind != domain.CommandAcquire && c.Kind != domain.CommandRelease && c.Kind != domain.CommandLookUp && c.Kind != domain.CommandAsk {
		return
	}
	_, step, path := d.s.Target(c)
	p := place{step, path, c.Attempt}
	switch c.Kind {
	case domain.CommandAcquire:
		d.wants = append(d.wants, p)
	case domain.CommandRelease:
		d.wants = slices.DeleteFunc(d.wants, func(o place) bool { return d.name(o) == d.name(p) })
		if d.holder == d.name(p) {
			d.holder = ""
		}
	case domain.CommandLookUp:
		d.handle(domain.EventLookedUp{Step: step, Path: path})
	case domain.CommandAsk:
		d.asks = append(d.asks, p)
	}
}

// outside lets one thing happen that the run waits for, false if there is none.
func (d *driver) outside() bool {
	switch {
	case d.handler:
		d.handler = false
		d.handle(domain.EventHandled{Run: "h"})
	case len(d.wants) > 0 && d.holder == "":
		p := d.wants[0]
		d.wants = d.wants[1:]
		d.holder = d.name(p)
		d.handle(domain.EventGranted{Step: p.step, Path: p.path, Ask: p.ask})
	case len(d.asks) > 0:
		p := d.asks[0]
		d.asks = d.asks[1:]
		d.handle(domain.EventDecision{Step: p.step, Path: p.path, Approved: d.w.approves(d.plan.Nodes[p.step].Spec.ID, p.path), By: "ada"})
	case d.s.Paused:
		d.handle(domain.EventUnpause{})
	default:
		waits := false
		d.s.StepRuns(func(v domain.StepRunView) { waits = waits || v.Wait == domain.WaitSignal })
		if !waits {
			return false
		}
		d.handle(domain.EventSignal{Name: "go"})
	}
	return true
}

func stepRun(x domain.Dispatch) string { return fmt.Sprint(x.Step, x.Path) }

func (d *driver) start(c domain.Command) {
	x, err := d.s.Dispatch(c, nil)
	require.NoError(d.t, err)
	key := stepRun(x)
	require.False(d.t, d.done[key], "%s is finished and was started again", key)
	for _, f := range d.flying {
		require.True(d.t, stepRun(f.d) != key || f.ended != nil, "attempts of %s overlap", key)
	}
	require.NotContains(d.t, d.flying, x.Execution)
	if f := d.plan.Nodes[x.StepIndex].ForEach; f != nil && f.Concurrency > 0 {
		beside := 0
		for _, o := range d.flying {
			if o.ended == nil && o.d.StepIndex == x.StepIndex && slices.Equal(o.d.Path[:len(o.d.Path)-1], x.Path[:len(x.Path)-1]) {
				beside++
			}
		}
		require.Less(d.t, beside, f.Concurrency, "more items of %s at a time than its concurrency", x.Step)
	}
	d.flying[x.Execution] = &flight{d: x, heard: true}
}

func (d *driver) attach(c domain.Command) {
	id, step, path := d.s.Target(c)
	f := d.flying[id]
	switch {
	case f == nil:
		d.handle(domain.EventAttempt{Step: step, Path: path, Attempt: c.Attempt, Outcome: domain.OutcomeUnknown})
	case f.ended == nil && d.lost[stepRun(f.d)] < domain.LostLimit && d.rnd.IntN(3) == 0:
		d.lost[stepRun(f.d)]++
		f.ended = &domain.EventAttempt{Step: step, Path: path, Attempt: c.Attempt, Outcome: domain.OutcomeLost}
		f.heard = true
		d.handle(*f.ended)
	default:
		f.heard = true
		if f.ended != nil {
			d.handle(*f.ended)
		}
	}
}

// finish lets one attempt end.
func (d *driver) finish(f *flight) {
	x := f.d
	ev := &domain.EventAttempt{Step: x.StepIndex, Path: x.Path, Attempt: x.Attempt, Outcome: domain.OutcomeCompleted, Instance: "i"}
	require.False(d.t, d.plan.Nodes[x.StepIndex].Spec.Concurrency != nil && d.holder != fmt.Sprint(x.Step, x.Path), "%s runs without its place", x.Execution)
	out, list, failed := d.w.try(x.Step, x.Path, int(x.Attempt)-d.lost[stepRun(x)], x.Inputs)
	if failed {
		ev.Outcome, ev.Err = domain.OutcomeFailed, &domain.StepError{Kind: "user_error", Message: "drawn"}
	} else {
		ev.Outputs, ev.IsList = out, list
	}
	f.ended = ev
	d.handle(*ev)
}

// crash forgets everything but the journal, of which the rows under way may have been
// written or not.
func (d *driver) crash() {
	d.crashes++
	for range d.rnd.IntN(len(d.pending) + 1) {
		d.write()
	}
	d.pending = nil
	for _, f := range d.flying {
		f.heard = false
	}
	d.wants, d.asks, d.handler, d.holder = nil, nil, false, ""
	if len(d.journal) == 0 { // the run was never acknowledged: its caller tries again
		d.begin()
		return
	}
	d.s = d.recover()
	d.noteDone()
	d.due = 0
	for _, c := range d.s.Claims() { // a keeper that starts anew learns who holds what
		if c.Held {
			require.Empty(d.t, d.holder, "two hold the one place")
			d.holder = d.name(place{step: c.Step, path: c.Path})
		}
	}
	d.s.StepRuns(func(v domain.StepRunView) { // people remember what they were asked
		if v.Wait == domain.WaitApproval || v.Wait == domain.WaitConsent {
			d.asks = append(d.asks, place{step: v.Step, path: v.Path})
		}
	})
	d.handle(domain.EventResume{})
}

func (d *driver) begin() {
	d.s = domain.NewState(domain.Run{ID: "run"}, d.plan)
	d.s.RowLimit, d.s.Lean = d.rowLimit, d.lean
	d.due = 0
	d.handle(domain.EventStarted{})
}

func (d *driver) replay(lean int) *domain.State {
	s := domain.NewState(domain.Run{ID: "run"}, d.plan)
	s.RowLimit, s.Lean = d.rowLimit, lean
	for _, row := range d.journal {
		require.NoError(d.t, s.Replay(row))
	}
	return s
}

// recover makes the state of the newest snapshot and the rows after it, which is the one that the
// whole journal gives.
func (d *driver) recover() *domain.State {
	whole := d.replay(d.lean)
	if d.snap == nil {
		return whole
	}
	s := domain.NewState(domain.Run{ID: "run"}, d.plan)
	s.RowLimit, s.Lean = d.rowLimit, d.lean
	require.NoError(d.t, s.Restore(d.snap))
	for _, row := range d.journal[d.snapRows:] {
		require.NoError(d.t, s.Replay(row))
	}
	require.Equal(d.t, whole.Fingerprint(), s.Fingerprint(), "the newest snapshot and what follows give another state than the journal")
	if !reflect.DeepEqual(whole, s) { // which may be a matter of nil and empty
		every := cmp.Exporter(func(reflect.Type) bool { return true })
		require.Empty(d.t, cmp.Diff(whole, s, every, cmpopts.EquateEmpty()), "the newest snapshot and what follows give another state than the journal")
	}
	return s
}

// noteDone remembers what is finished in the journal: it must never start again.
func (d *driver) noteDone() {
	d.replay(0).StepRuns(func(v domain.StepRunView) {
		if v.State == domain.StepCompleted || v.State == domain.StepFailed || v.State == domain.StepSkipped {
			d.done[fmt.Sprint(d.plan.Nodes[v.Step].Spec.ID, v.Path)] = true
		}
	})
}

func (d *driver) run(crashy bool) {
	d.begin()
	for turns := 0; ; turns++ {
		require.Less(d.t, turns, 20000, "the run does not end:\n%s", d.s.Fingerprint())
		var ready []*flight
		for _, f := range d.flying {
			if f.heard && f.ended == nil {
				ready = append(ready, f)
			}
		}
		slices.SortFunc(ready, func(a, b *flight) int {
			if a.d.Execution < b.d.Execution {
				return -1
			}
			return 1
		})
		if len(d.pending) == 0 && d.s.Status.Ended() {
			return
		}
		if d.cancel--; d.cancel == 0 {
			d.handle(domain.EventCancel{Command: "c", Reason: "drawn"})
			continue
		}
		if len(ready) > 0 && d.pauses < 2 && d.rnd.IntN(20) == 0 && !d.s.Paused {
			d.pauses++
			d.handle(domain.EventPause{})
			continue
		}
		if d.rnd.IntN(6) == 0 && d.outside() {
			continue
		}
		switch {
		case crashy && d.crashes < 12 && d.rnd.IntN(8) == 0:
			d.crash()
		case len(d.pending) > 0 && (d.rnd.IntN(2) == 0 || len(ready) == 0):
			d.commit()
		case len(ready) > 0:
			d.finish(ready[d.rnd.IntN(len(ready))])
		case d.outside():
		case d.due > 0:
			d.now = time.UnixMicro(max(d.due, d.now.UnixMicro()))
			d.due = 0
			d.handle(domain.EventTick{})
		default:
			d.t.Fatalf("nothing can happen and the run has not ended:\n%s", d.s.Fingerprint())
		}
	}
}
