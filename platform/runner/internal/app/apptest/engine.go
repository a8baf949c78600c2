package apptest

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/runner/internal/app"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
)

// Chain makes a workflow of n steps, each of which adds one to its input.
func Chain(n int) domain.Definition {
	steps := []domain.StepSpec{}
	from := `"${inputs.n}"`
	for i := range n {
		s := Step(fmt.Sprintf("s%d", i), "n", from)
		if i > 0 {
			s.Needs = []string{fmt.Sprintf("s%d", i-1)}
		}
		steps = append(steps, s)
		from = fmt.Sprintf(`"${steps.s%d.n}"`, i)
	}
	d := Workflow("chain", steps...)
	d.Inputs = []domain.Item{{Name: "n", Type: "integer"}}
	d.Result = map[string]string{"n": strings.Trim(from, `"`)}
	return d
}

// AddOne is what the steps of Chain do.
func AddOne(_ context.Context, x app.Execution) Result {
	n, err := strconv.Atoi(string(x.Inputs["n"]))
	if err != nil {
		return Result{Err: &domain.StepError{Kind: "user_error", Message: err.Error()}}
	}
	return One("n", strconv.Itoa(n+1))
}

// Engine checks the use cases on a database. open makes a fresh one.
func Engine(t *testing.T, open func(t *testing.T) Database) {
	t.Run("a chain is carried out and every step is recorded", func(t *testing.T) {
		r := Start(t, open(t), NewExecutor(AddOne))
		r.Deploy(Chain(10))
		run := r.Begin("chain", Values("n", "5"))
		res := r.Wait(run)
		require.Equal(t, domain.RunCompleted, res.State)
		require.Equal(t, "15", string(res.Result["n"]))
		d, err := r.GetRun(t.Context(), "p", run)
		require.NoError(t, err)
		require.Len(t, d.Steps, 10)
		require.Equal(t, "14", string(d.Steps[9].Inputs["n"]))
		require.Equal(t, "15", string(d.Steps[9].Outputs[0]["n"]))
		require.Equal(t, domain.AttemptCompleted, d.Steps[9].Attempts[0].State)
		require.Equal(t, "5", string(d.Inputs["n"]))
		answer, err := r.Render(t.Context(), "p", run, domain.Value(`"n is ${steps.s9.n}"`))
		require.NoError(t, err)
		require.Equal(t, `"n is 15"`, string(answer))
		items, next, err := r.Runs(t.Context(), app.RunQuery{Project: "p"})
		require.NoError(t, err)
		require.Empty(t, next)
		require.Len(t, items, 1)
		require.Equal(t, domain.RunCompleted, items[0].State)
		require.False(t, items[0].FinishedAt.IsZero())
	})
	t.Run("inputs are checked, all at once", func(t *testing.T) {
		r := Start(t, open(t), NewExecutor(AddOne))
		r.Deploy(Chain(1))
		_, err := r.StartRun(t.Context(), app.StartRun{Project: "p", Workflow: "chain", Inputs: Values("n", `"x"`, "m", "1")})
		require.True(t, fault.Is(err, fault.Invalid))
		require.Len(t, fault.As(err).Fields, 2)
		_, err = r.StartRun(t.Context(), app.StartRun{Project: "p", Workflow: "chian", Inputs: Values("n", "1")})
		require.True(t, fault.Is(err, fault.NotFound))
		require.ErrorContains(t, err, "did you mean chain?")
	})
	t.Run("an idempotency key starts one run", func(t *testing.T) { idempotency(t, open) })
	t.Run("a run goes on after a restart without repeating a step", func(t *testing.T) { restart(t, open) })
	t.Run("an incarnation that was taken over stops and writes nothing", func(t *testing.T) { fenced(t, open) })
	t.Run("cancel stops attempts and keeps what they gave", func(t *testing.T) { cancelled(t, open) })
	t.Run("a run of durability none answers at once and is written after its end", func(t *testing.T) { brief(t, open) })
	t.Run("an end is told once it is durable", func(t *testing.T) { endTold(t, open) })
	t.Run("who waits for the end of a run that begins is told nothing before it is durable", func(t *testing.T) { awaited(t, open) })
	t.Run("pure steps go ahead of the journal", func(t *testing.T) { ahead(t, open) })
	t.Run("others do not", func(t *testing.T) { aheadOfNothing(t, open) })
	t.Run("nor do those of a run that is watched", func(t *testing.T) { aheadWatched(t, open) })
	t.Run("what ran ahead of the journal is found after a crash", func(t *testing.T) { aheadLost(t, open) })
	t.Run("retry waits and tries again", func(t *testing.T) { retried(t, open) })
	t.Run("a step that takes too long fails with timeout", func(t *testing.T) { timedOut(t, open) })
	t.Run("secrets reach the action and nothing else", func(t *testing.T) { secrets(t, open) })
	t.Run("an output of type password stays sealed", func(t *testing.T) { passwordOutput(t, open) })
	t.Run("a project's runs under way are limited", func(t *testing.T) { limited(t, open) })
	t.Run("a run of a superseded deployment ends on its own revision", func(t *testing.T) { superseded(t, open) })
	t.Run("revisions share new runs by weight", func(t *testing.T) { traffic(t, open) })
	t.Run("a key keeps its revision while weights stay, and its run for ever", func(t *testing.T) { trafficKeys(t, open) })
	t.Run("what another revision does not take stays with the leader", func(t *testing.T) { trafficHome(t, open) })
	t.Run("a workflow that calls itself calls its own revision", func(t *testing.T) { trafficItself(t, open) })
	t.Run("a cancel that was durable before a crash is carried out after it", func(t *testing.T) { cancelInbox(t, open) })
	t.Run("a trigger maps its event onto inputs", func(t *testing.T) { mapped(t, open) })
	t.Run("logs are kept in order and paged", func(t *testing.T) { logs(t, open) })
	t.Run("a watcher sees what happens up to the end", func(t *testing.T) { watched(t, open) })
	t.Run("a project's feed tells starts, logs and ends", func(t *testing.T) { fed(t, open) })
	t.Run("deployments supersede each other and tell why they fail", func(t *testing.T) { deployed(t, open) })
	t.Run("signals and decisions let waiting runs go on, across restarts", func(t *testing.T) { signalled(t, open) })
	t.Run("a decision is asked for, checked and listed", func(t *testing.T) { decided(t, open) })
	t.Run("a run that only waits leaves memory and comes back in time", func(t *testing.T) { slept(t, open) })
	t.Run("ended runs go once they have expired", func(t *testing.T) { retention(t, open) })
	t.Run("files go once no run mentions them", func(t *testing.T) { collected(t, open) })
	t.Run("projects and workflows keep runs for less", func(t *testing.T) { shorterRetention(t, open) })
	t.Run("a sub-workflow is one run, whatever happens to the runner", func(t *testing.T) { called(t, open) })
	t.Run("a failed run starts its handler once", func(t *testing.T) { handledFailure(t, open) })
	t.Run("a cached step runs once", func(t *testing.T) { cachedStep(t, open) })
	t.Run("a paused run starts nothing", func(t *testing.T) { paused(t, open) })
	t.Run("a retry keeps what was finished", func(t *testing.T) { retriedRun(t, open) })
	t.Run("what was done is taken back", func(t *testing.T) { undone(t, open) })
	t.Run("runs with one key take turns", func(t *testing.T) { runKeys(t, open) })
	t.Run("a run is skipped, or cancels the oldest, by its policy", func(t *testing.T) { runPolicies(t, open) })
	t.Run("starts keep to their rate, and a workflow's own key starts one run", func(t *testing.T) { rates(t, open) })
	t.Run("steps with one key never overlap, whatever happens to the runner", func(t *testing.T) { stepKeys(t, open) })
	t.Run("a run that holds a key is a row while it waits", func(t *testing.T) { sleepingKey(t, open) })
	t.Run("caps bound what is under way", func(t *testing.T) { capped(t, open) })
	t.Run("values in the filestore are loaded when an expression needs them", func(t *testing.T) { large(t, open) })
}

func idempotency(t *testing.T, open func(t *testing.T) Database) {
	r := Start(t, open(t), NewExecutor(AddOne))
	r.Deploy(Chain(2))
	order := app.StartRun{Project: "p", Workflow: "chain", Inputs: Values("n", "1"), IdempotencyKey: "k"}
	ids := make([]string, 8)
	var wg sync.WaitGroup
	for i := range ids {
		wg.Go(func() {
			s, err := r.StartRun(t.Context(), order)
			if err == nil {
				ids[i] = s.ID
			}
		})
	}
	wg.Wait()
	for _, id := range ids {
		require.Equal(t, ids[0], id)
		require.NotEmpty(t, id)
	}
	r.Wait(ids[0])
	again, err := r.StartRun(t.Context(), order)
	require.NoError(t, err)
	require.False(t, again.Created)
	require.Equal(t, domain.RunCompleted, again.State)
	order.Inputs = Values("n", "2")
	_, err = r.StartRun(t.Context(), order)
	require.True(t, fault.Is(err, fault.Conflict), "%v", err)
	event := app.StartRun{Project: "p", Workflow: "chain", Inputs: Values("n", "1"), Trigger: app.Trigger{Kind: "source", ID: "src"}, EventKey: "e1", Cursor: []byte("c1")}
	one, err := r.StartRun(t.Context(), event)
	require.NoError(t, err)
	two, err := r.StartRun(t.Context(), event)
	require.NoError(t, err)
	require.Equal(t, one.ID, two.ID)
	cursor, err := r.SourceCursor(t.Context(), one.Deployment, "src")
	require.NoError(t, err)
	require.Equal(t, "c1", string(cursor))
	r.Wait(one.ID)
}

func restart(t *testing.T, open func(t *testing.T) Database) {
	reached, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	exec := NewExecutor(func(ctx context.Context, x app.Execution) Result {
		if x.Step == "s2" {
			once.Do(func() { close(reached) })
			<-release
		}
		return AddOne(ctx, x)
	})
	r := Start(t, open(t), exec)
	r.Deploy(Chain(5))
	run := r.Begin("chain", Values("n", "0"))
	<-reached
	r.Restart()
	close(release)
	res := r.Wait(run)
	require.Equal(t, domain.RunCompleted, res.State)
	require.Equal(t, "5", string(res.Result["n"]))
	require.Len(t, exec.Log, 5, "each step was sent once")
}

func fenced(t *testing.T, open func(t *testing.T) Database) {
	release := make(chan struct{})
	exec := NewExecutor(func(ctx context.Context, x app.Execution) Result {
		<-release
		return AddOne(ctx, x)
	})
	r := Start(t, open(t), exec)
	r.Deploy(Chain(1))
	run := r.Begin("chain", Values("n", "0"))
	err := r.Usurp(func(old *app.Service) {
		_, err := old.StartRun(context.Background(), app.StartRun{Project: "p", Workflow: "chain", Inputs: Values("n", "7")})
		require.Error(t, err)
	})
	require.ErrorIs(t, err, app.ErrFenced)
	close(release)
	require.Equal(t, "1", string(r.Wait(run).Result["n"]))
	items, _, err := r.Runs(t.Context(), app.RunQuery{Project: "p"})
	require.NoError(t, err)
	require.Len(t, items, 1)
}

func cancelled(t *testing.T, open func(t *testing.T) Database) {
	begun := make(chan string, 2)
	exec := NewExecutor(func(ctx context.Context, x app.Execution) Result {
		begun <- x.Step
		<-ctx.Done()
		if x.Step == "a" {
			return Result{Outcome: app.Cancelled}
		}
		return One("n", "1") // finished all the same
	})
	r := Start(t, open(t), exec)
	a, b, c := Step("a"), Step("b"), Step("c")
	c.Needs = []string{"b"}
	r.Deploy(Workflow("w", a, b, c))
	run := r.Begin("w", nil)
	<-begun
	<-begun
	require.NoError(t, r.Cancel(t.Context(), "p", run, "cmd", "not needed"))
	res := r.Wait(run)
	require.Equal(t, domain.RunCancelled, res.State)
	require.Equal(t, "not needed", res.Error.Message)
	d, err := r.GetRun(t.Context(), "p", run)
	require.NoError(t, err)
	require.Equal(t, []domain.StepState{domain.StepCancelled, domain.StepCompleted, domain.StepCancelled},
		[]domain.StepState{d.Steps[0].State, d.Steps[1].State, d.Steps[2].State})
	require.True(t, fault.Is(r.Cancel(t.Context(), "p", run, "", ""), fault.Conflict))
	require.True(t, fault.Is(r.Cancel(t.Context(), "other", run, "", ""), fault.NotFound))
}

func retried(t *testing.T, open func(t *testing.T) Database) {
	exec := NewExecutor(func(_ context.Context, x app.Execution) Result {
		if x.Attempt < 3 {
			return Result{Err: &domain.StepError{Kind: "user_error", Message: "not yet"}}
		}
		return One("n", fmt.Sprint(x.Attempt))
	})
	r := Start(t, open(t), exec)
	s := Step("s")
	s.Retry = &domain.RetrySpec{Attempts: 3, Backoff: time.Millisecond}
	w := Workflow("w", s)
	w.Result = map[string]string{"n": "${steps.s.n}"}
	r.Deploy(w)
	run := r.Begin("w", nil)
	require.Equal(t, "3", string(r.Wait(run).Result["n"]))
	d, err := r.GetRun(t.Context(), "p", run)
	require.NoError(t, err)
	require.Len(t, d.Steps[0].Attempts, 3)
	require.Equal(t, "not yet", d.Steps[0].Attempts[0].Error.Message)
}

func timedOut(t *testing.T, open func(t *testing.T) Database) {
	exec := NewExecutor(func(ctx context.Context, _ app.Execution) Result {
		<-ctx.Done()
		return Result{Outcome: app.Cancelled}
	})
	r := Start(t, open(t), exec)
	s := Step("s")
	s.Timeout = 20 * time.Millisecond
	r.Deploy(Workflow("w", s))
	res := r.Wait(r.Begin("w", nil))
	require.Equal(t, domain.RunFailed, res.State)
	require.Equal(t, "timeout", res.Error.Kind)
	require.Equal(t, "s", res.Step)
}
