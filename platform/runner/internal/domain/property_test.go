package domain_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/runner/internal/domain"
	"github.com/pelton-run/pelton/platform/runner/internal/domain/domaintest"
)

// randomWorkflow draws a graph of up to nine steps; each reads the outputs of its needs.
func randomWorkflow(rnd *rand.Rand) domain.Definition {
	d := domain.Definition{Workflow: "w", RevisionID: "r", Revision: 1, Result: map[string]string{}}
	build := domain.Build{Digest: "b", Action: "b@1", Inputs: []domain.Item{{Name: "item", Optional: true}}}
	for i := range 2 + rnd.IntN(8) {
		s := domain.StepSpec{ID: fmt.Sprintf("s%d", i), Kind: "action", Uses: "b", Build: "b", With: map[string]json.RawMessage{}}
		for j := range i {
			if rnd.IntN(3) == 0 && len(s.Needs) < 3 {
				s.Needs = append(s.Needs, fmt.Sprintf("s%d", j))
			}
		}
		for _, n := range s.Needs {
			s.With["in_"+n] = json.RawMessage(fmt.Sprintf(`"${steps.%s.out}"`, n))
		}
		build.Inputs = append(build.Inputs, domain.Item{Name: "in_" + s.ID, Optional: true})
		if len(s.Needs) > 0 {
			some := s.Needs[rnd.IntN(len(s.Needs))]
			s.If = []string{"", "", "", "", "always()", "failed()", fmt.Sprintf("skipped(%q)", some), "steps." + some + ".flag == 1"}[rnd.IntN(8)]
			if rnd.IntN(6) == 0 {
				s.Join = "any"
			}
			if rnd.IntN(4) == 0 {
				s.ForEach = &domain.ForEachSpec{In: "steps." + some + ".list", As: "item", Concurrency: rnd.IntN(3)}
			}
		} else if rnd.IntN(4) == 0 {
			s.ForEach = &domain.ForEachSpec{In: `[7,8,9]`, As: "item", Concurrency: rnd.IntN(3)}
		}
		if s.ForEach != nil {
			s.With["item"] = json.RawMessage(`"${item}"`)
		}
		if s.ForEach != nil {
			s.ForEach.OnError = []string{"", "fail", "skip", "collect"}[rnd.IntN(4)]
		}
		decorate(rnd, &d, &s, len(s.Needs) > 0)
		if rnd.IntN(2) == 0 {
			s.Retry = &domain.RetrySpec{Attempts: 1 + rnd.IntN(4), Backoff: time.Duration(rnd.IntN(2)) * time.Second, Jitter: true}
		}
		d.Steps = append(d.Steps, s)
		if rnd.IntN(3) == 0 {
			d.Result["r_"+s.ID] = "${steps." + s.ID + ".out}"
		}
	}
	d.Builds = []domain.Build{build}
	return d
}

// decorate turns a step into one of another kind, or adds stages, catches and undos to it.
func decorate(rnd *rand.Rand, d *domain.Definition, s *domain.StepSpec, hasNeeds bool) {
	for _, need := range s.Needs { // a switch that it needs may choose it
		for i := range d.Steps {
			sw := &d.Steps[i]
			if sw.ID != need || sw.Kind != "switch" || rnd.IntN(4) == 0 {
				continue
			}
			if c := []string{"0", "1", ""}[rnd.IntN(3)]; c == "" {
				sw.Default = append(sw.Default, s.ID)
			} else {
				sw.Cases[c] = append(sw.Cases[c], s.ID)
			}
			need = ""
		}
		if need == "" {
			break
		}
	}
	if rnd.IntN(4) == 0 {
		s.Catch = []domain.CatchSpec{{}}
		if rnd.IntN(2) == 0 {
			s.Catch[0].Outputs = json.RawMessage(`{"out":5,"flag":1,"list":[1]}`)
		}
	}
	plain := func(kind string) { s.Kind, s.Build, s.With, s.ForEach = kind, "", nil, nil }
	switch rnd.IntN(16) {
	case 0:
		plain("wait")
		s.Wait = &domain.WaitSpec{For: json.RawMessage(`"3s"`)}
	case 1:
		plain("wait")
		s.Wait = &domain.WaitSpec{Signal: "go"}
	case 2:
		plain("wait")
		s.Wait = &domain.WaitSpec{Approval: &domain.ApprovalSpec{Reminder: time.Second}}
	case 3, 4:
		if hasNeeds {
			plain("switch")
			s.Switch, s.Cases = "steps."+s.Needs[0]+".flag", map[string][]string{"0": nil, "1": nil}
		}
	case 5:
		if hasNeeds {
			plain("collect")
			s.Collect = s.Needs[0]
		}
	case 6, 7:
		if s.ForEach == nil {
			s.Loop = &domain.LoopSpec{Until: "pass.last.flag == 1", Max: 1 + rnd.IntN(3), Delay: time.Duration(rnd.IntN(2)) * time.Second}
		}
	case 8:
		s.Approval = &domain.ApprovalSpec{}
	case 9:
		s.Cache = &domain.CacheSpec{Key: json.RawMessage(`"k"`), TTL: time.Hour}
	}
	if s.Kind == "action" && rnd.IntN(4) == 0 {
		s.Concurrency = &domain.LimitSpec{Limit: 1}
	}
	if s.Kind == "action" && rnd.IntN(4) == 0 {
		s.Undo = &domain.UndoSpec{Uses: "b", Build: "b"}
	}
}

// TestAgainstReference runs random workflows in random orders with random crashes: each ends
// as plain recursion says, and the replay of its journal gives the same state.
func TestAgainstReference(t *testing.T) {
	seen := map[domain.RunState]int{}
	at := uint64(0)
	defer func() {
		if t.Failed() {
			t.Logf("it was seed %d", at)
		}
	}()
	for seed := range uint64(3000) {
		at = seed
		rnd := rand.New(rand.NewPCG(seed, 1))
		def := randomWorkflow(rnd)
		plan, problems := domain.Compile(def, domaintest.Compiler{})
		require.Empty(t, problems)
		d := &driver{t: t, rnd: rnd, w: world{seed}, plan: plan, now: time.UnixMicro(1e15),
			flying: map[string]*flight{}, lost: map[string]int{}, done: map[string]bool{}, rowLimit: []int{0, 1, 60}[seed%3], lean: []int{0, 1, 12}[seed/3%3]}
		def.OnFailure = ""
		d.run(seed%2 == 1)
		d.checkUndone()
		seen[d.s.Status]++

		if diff := cmp.Diff(d.s.Fingerprint(), d.replay(d.lean).Fingerprint()); diff != "" {
			t.Fatalf("seed %d: replay differs (-live +replayed):\n%s", seed, diff)
		}
		ref := reference{w: d.w, def: def}
		ref.run()
		state, result := ref.result()
		require.Equal(t, state, d.s.Status, "seed %d: %v\n%s", seed, d.s.Err, d.s.Fingerprint())
		require.Equal(t, liveStates(d.replay(0), nil, true), liveStates(d.s, nil, true), "seed %d: a lean state differs from a whole one", seed)
		want, got := ref.states(), liveStates(d.replay(0), want0(ref), false)
		if diff := cmp.Diff(sortedText(want), sortedText(got)); diff != "" {
			text, _ := json.MarshalIndent(def.Steps, "", " ")
			t.Fatalf("seed %d: step runs differ (-reference +engine):\n%s\n%s", seed, diff, text)
		}
		if state == domain.RunCompleted {
			have := map[string]string{}
			for k, v := range d.s.Result {
				have[k] = string(v)
			}
			require.Equal(t, result, have, "seed %d", seed)
		}
	}
	require.Greater(t, seen[domain.RunCompleted], 300)
	require.Greater(t, seen[domain.RunFailed], 300)
}

// checkUndone checks that what a failed run had done was taken back, and a completed one's was not.
func (d *driver) checkUndone() {
	done, back := map[string]bool{}, map[string]bool{}
	d.s.StepRuns(func(v domain.StepRunView) {
		p := &d.plan.Nodes[v.Step]
		switch {
		case p.Undoes >= 0:
			require.True(d.t, v.State == domain.StepCompleted || v.State == domain.StepFailed, "%s is %s", p.Spec.ID, v.State)
			back[d.name(place{step: p.Undoes, path: v.Path})] = true
		case p.Undo >= 0 && v.State == domain.StepCompleted && len(v.Attempts) > 0 && !v.Caught:
			done[d.name(place{step: v.Step, path: v.Path})] = true
		}
	})
	if d.s.Status == domain.RunCompleted {
		require.Empty(d.t, back)
		return
	}
	require.Equal(d.t, done, back)
}

// TestCancel cancels random runs at random points, with crashes: each ends, as cancelled only
// when no attempt is under way.
func TestCancel(t *testing.T) {
	cancelled := 0
	for seed := range uint64(1000) {
		rnd := rand.New(rand.NewPCG(seed, 2))
		plan, problems := domain.Compile(randomWorkflow(rnd), domaintest.Compiler{})
		require.Empty(t, problems)
		d := &driver{t: t, rnd: rnd, w: world{seed}, plan: plan, now: time.UnixMicro(1e15), cancel: 1 + rnd.IntN(20),
			flying: map[string]*flight{}, lost: map[string]int{}, done: map[string]bool{}, rowLimit: []int{0, 1, 60}[seed%3], lean: []int{0, 1, 12}[seed/3%3]}
		d.run(seed%2 == 1)
		require.Equal(t, d.s.Fingerprint(), d.replay(d.lean).Fingerprint())
		d.checkUndone()
		if d.s.Status == domain.RunCancelled {
			cancelled++
			for _, f := range d.flying {
				require.NotNil(t, f.ended, "%s is still under way", f.d.Execution)
			}
		}
	}
	require.Greater(t, cancelled, 300)
}

// want0 names the failed forEach nodes, whose items are not compared.
func want0(r reference) map[string]bool {
	out := map[string]bool{}
	for k, v := range r.states() {
		if v == "failed " {
			out[k] = true
		}
	}
	return out
}

// liveStates gives the step runs; first leaves all but the first of an item's outputs away, which
// nobody reads.
func liveStates(s *domain.State, failed map[string]bool, first bool) map[string]string {
	out := map[string]string{}
	s.StepRuns(func(v domain.StepRunView) {
		id := s.Plan.Nodes[v.Step].Spec.ID
		if n := len(v.Path); n > 0 && s.Plan.Nodes[v.Step].ForEach != nil && failed[fmt.Sprint(id, v.Path[:n-1])] {
			return
		}
		if first && len(v.Path) > 0 && s.Plan.Nodes[v.Step].ForEach != nil && len(v.Outputs) > 1 {
			v.Outputs = v.Outputs[:1]
		}
		path := v.Path
		if path == nil {
			path = []int32{}
		}
		switch kind := s.Plan.Nodes[v.Step].Spec.Kind; {
		case s.Plan.Nodes[v.Step].Undoes >= 0:
			return
		case kind != "action" && v.State == domain.StepCompleted && !v.Caught: // what such a step gives is tested by hand
			v.Outputs = []domain.Values{{}}
		}
		out[fmt.Sprint(id, path)] = string(v.State) + " " + outputsText(v.Outputs)
	})
	return out
}
