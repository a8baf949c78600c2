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
	t.Run("retry waits and tries again", func(t *testing.T) { retried(t, open) })
	t.Run("a step that takes too long fails with timeout", func(t *testing.T) { timedOut(t, open) })
	t.Run("secrets reach the action and nothing else", func(t *testing.T) { secrets(t, open) })
	t.Run("an output of type password stays sealed", func(t *testing.T) { passwordOutput(t, open) })
	t.Run("a project's runs under way are limited", func(t *testing.T) { limited(t, open) })
	t.Run("a run of a superseded deployment ends on its own revision", func(t *testing.T) { superseded(t, open) })
	t.Run("a cancel that was durable before a crash is carried out after it", func(t *testing.T) { cancelInbox(t, open) })
	t.Run("logs are kept in order and paged", func(t *testing.T) { logs(t, open) })
	t.Run("a watcher sees what happens up to the end", func(t *testing.T) { watched(t, open) })
	t.Run("deployments supersede each other and tell why they fail", func(t *testing.T) { deployed(t, open) })
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

func secrets(t *testing.T, open func(t *testing.T) Database) {
	var got app.Execution
	exec := NewExecutor(func(_ context.Context, x app.Execution) Result { got = x; return One() })
	r := Start(t, open(t), exec)
	require.NoError(t, r.PutSecret(t.Context(), "p", "token", "hunter2"))
	w := Workflow("w", Step("s", "header", `"Bearer ${secrets.token}"`, "pw", `"${inputs.pw}"`))
	w.Inputs = []domain.Item{{Name: "pw", Type: "password"}}
	r.Deploy(w)
	run := r.Begin("w", Values("pw", `"swordfish"`))
	require.Equal(t, domain.RunCompleted, r.Wait(run).State)
	require.Equal(t, `"Bearer hunter2"`, string(got.Inputs["header"]))
	require.Equal(t, `"swordfish"`, string(got.Inputs["pw"]))
	require.ElementsMatch(t, [][]byte{[]byte("hunter2"), []byte("swordfish")}, got.Secrets)
	rows, err := r.DB.Store.RunRows(t.Context(), run)
	require.NoError(t, err)
	for _, row := range rows {
		require.NotContains(t, string(row), "hunter2")
		require.NotContains(t, string(row), "swordfish")
	}
	d, err := r.GetRun(t.Context(), "p", run)
	require.NoError(t, err)
	require.Equal(t, domain.Masked, d.Inputs["pw"])
	require.Equal(t, domain.Masked, d.Steps[0].Inputs["header"])
	names, err := r.SecretNames(t.Context(), "p")
	require.NoError(t, err)
	require.Equal(t, "token", names[0].Name)
	r.Restart()
	require.Equal(t, domain.RunCompleted, r.Wait(r.Begin("w", Values("pw", `"x"`))).State)
	require.NoError(t, r.DeleteSecret(t.Context(), "p", "token"))
	require.Equal(t, domain.RunFailed, r.Wait(r.Begin("w", Values("pw", `"x"`))).State)
}

func logs(t *testing.T, open func(t *testing.T) Database) {
	exec := NewExecutor(func(_ context.Context, x app.Execution) Result {
		res := One()
		for i := range 1000 {
			res.Logs = append(res.Logs, fmt.Sprintf("%s line %d", x.Step, i))
		}
		return res
	})
	r := Start(t, open(t), exec)
	r.Deploy(Workflow("w", Step("a"), Step("b")))
	run := r.Begin("w", nil)
	r.Wait(run)
	var got []app.LogRecord
	deadline := clock().Add(20 * time.Second)
	for after := int64(0); len(got) < 2000 && clock().Before(deadline); {
		p, err := r.Logs(t.Context(), app.LogQuery{Project: "p", Run: run, After: after, Limit: 300})
		require.NoError(t, err)
		got = append(got, p.Records...)
		after = p.Next
	}
	require.Len(t, got, 2000)
	counts := map[string]int{}
	for i, rec := range got {
		require.EqualValues(t, i+1, rec.Cursor)
		require.Equal(t, fmt.Sprintf("%s line %d", rec.Step, counts[rec.Step]), rec.Line)
		counts[rec.Step]++
	}
	p, err := r.Logs(t.Context(), app.LogQuery{Project: "p", Run: run, Step: "b"})
	require.NoError(t, err)
	require.Len(t, p.Records, 1000)
	require.False(t, p.More)
}

func watched(t *testing.T, open func(t *testing.T) Database) {
	release := make(chan struct{})
	exec := NewExecutor(func(ctx context.Context, x app.Execution) Result { <-release; return AddOne(ctx, x) })
	r := Start(t, open(t), exec)
	r.Deploy(Chain(2))
	run := r.Begin("chain", Values("n", "0"))
	events, err := r.Watch(t.Context(), "p", run)
	require.NoError(t, err)
	close(release)
	var kinds []string
	var last app.RunEvent
	for ev := range events {
		last = ev
		k := ev.Kind + " " + ev.StepID
		if ev.Attempt != nil {
			k += " " + string(ev.Attempt.State)
		}
		if ev.Step != nil {
			k += " " + string(ev.Step.State)
		}
		kinds = append(kinds, k)
	}
	require.Equal(t, []string{"attempt s0 completed", "step s0 completed", "attempt s1 started", "step s1 running",
		"attempt s1 completed", "step s1 completed", "run "}, kinds)
	require.Equal(t, domain.RunCompleted, last.Run.State)
	events, err = r.Watch(t.Context(), "p", run)
	require.NoError(t, err)
	require.Equal(t, domain.RunCompleted, (<-events).Run.State)
}

func deployed(t *testing.T, open func(t *testing.T) Database) {
	r := Start(t, open(t), NewExecutor(AddOne))
	first := r.Deploy(Chain(1))
	_, changed := r.Live()
	second := r.Deploy(Chain(2))
	<-changed
	live, _ := r.Live()
	require.Len(t, live, 1)
	require.Equal(t, second, live[0].ID)
	d, err := r.Service.Deployment(t.Context(), "p", first)
	require.NoError(t, err)
	require.Equal(t, app.DeploymentStopped, d.State)

	bad := Workflow("bad", Step("a", "x", `"${steps.zzz.out}"`), Step("b", "x", `"${nonsense}"`))
	badID := bad.RevisionID
	require.NoError(t, r.Service.Deploy(t.Context(), app.DeployWorkflow{ID: badID, Project: "p", Definition: bad}))
	d, err = r.Service.Deployment(t.Context(), "p", badID)
	require.NoError(t, err)
	require.Equal(t, app.DeploymentFailed, d.State)
	require.Contains(t, d.Reason, `there is no step "zzz"`)
	require.Contains(t, d.Reason, "nonsense is not defined")

	r.Restart()
	live, _ = r.Live()
	require.Len(t, live, 1)
	require.NoError(t, r.Undeploy(t.Context(), "p", second))
	_, err = r.StartRun(t.Context(), app.StartRun{Project: "p", Workflow: "chain", Inputs: Values("n", "1")})
	require.True(t, fault.Is(err, fault.NotFound))
}

func large(t *testing.T, open func(t *testing.T) Database) {
	var seen sync.Map
	exec := NewExecutor(func(_ context.Context, x app.Execution) Result {
		if x.Step == "make" {
			return One("list", string(x.Inputs["ref"]))
		}
		seen.Store(string(x.Inputs["v"]), true)
		return One("v", string(x.Inputs["v"]))
	})
	r := Start(t, open(t), exec)
	digest, size, err := r.Files.Put(t.Context(), "p", strings.NewReader(`[10,20,30]`))
	require.NoError(t, err)
	item := Step("each", "v", `"${item}"`)
	item.ForEach = &domain.ForEachSpec{In: "${steps.make.list}", As: "item", Concurrency: 2}
	w := Workflow("w", Step("make", "ref", fmt.Sprintf(`{"$ref":%q,"size":%d}`, digest, size)), item)
	w.Result = map[string]string{"all": "${steps.each}", "n": "${size(steps.make.list)}"}
	r.Deploy(w)
	res := r.Wait(r.Begin("w", nil))
	require.Equal(t, domain.RunCompleted, res.State, "%v", res.Error)
	require.JSONEq(t, `[{"v":10},{"v":20},{"v":30}]`, string(res.Result["all"]))
	require.Equal(t, "3", string(res.Result["n"]))
}

func passwordOutput(t *testing.T, open func(t *testing.T) Database) {
	var mu sync.Mutex
	got := map[string]app.Execution{}
	exec := NewExecutor(func(_ context.Context, x app.Execution) Result {
		mu.Lock()
		got[x.Step] = x
		mu.Unlock()
		return One("token", `"t0ken"`, "ok", "1")
	})
	r := Start(t, open(t), exec)
	w := Workflow("w", Step("login"), Step("plain", "t", `"${steps.login.token}"`, "ok", `"${steps.login.ok}"`), Step("mixed", "t", `"Bearer ${steps.login.token}"`))
	w.Builds[0].Outputs = []domain.Item{{Name: "token", Type: "password"}}
	r.Deploy(w)
	run := r.Begin("w", nil)
	require.Equal(t, domain.RunCompleted, r.Wait(run).State)
	require.Equal(t, `"t0ken"`, string(got["plain"].Inputs["t"]))
	require.Equal(t, `1`, string(got["plain"].Inputs["ok"]))
	require.Equal(t, `"Bearer t0ken"`, string(got["mixed"].Inputs["t"]))
	require.Contains(t, got["mixed"].Secrets, []byte("t0ken"))
	rows, err := r.DB.Store.RunRows(t.Context(), run)
	require.NoError(t, err)
	for _, row := range rows {
		require.NotContains(t, string(row), "t0ken")
	}
	d, err := r.GetRun(t.Context(), "p", run)
	require.NoError(t, err)
	require.Equal(t, domain.Masked, d.Steps[0].Outputs[0]["token"])
	require.Equal(t, domain.Masked, d.Steps[1].Inputs["t"])
	require.Equal(t, "1", string(d.Steps[1].Inputs["ok"]))
}

func limited(t *testing.T, open func(t *testing.T) Database) {
	release := make(chan struct{})
	exec := NewExecutor(func(ctx context.Context, x app.Execution) Result { <-release; return AddOne(ctx, x) })
	r := Start(t, open(t), exec)
	r.Stop()
	r.start(app.Config{MaxLiveRuns: 2})
	r.Deploy(Chain(1))
	runs := []string{r.Begin("chain", Values("n", "1")), r.Begin("chain", Values("n", "1"))}
	_, err := r.StartRun(t.Context(), app.StartRun{Project: "p", Workflow: "chain", Inputs: Values("n", "1")})
	require.True(t, fault.Is(err, fault.Exhausted), "%v", err)
	close(release)
	for _, run := range runs {
		r.Wait(run)
	}
	r.Wait(r.Begin("chain", Values("n", "1")))
}

func superseded(t *testing.T, open func(t *testing.T) Database) {
	release := make(chan struct{})
	exec := NewExecutor(func(ctx context.Context, x app.Execution) Result { <-release; return AddOne(ctx, x) })
	r := Start(t, open(t), exec)
	first := r.Deploy(Chain(2))
	run := r.Begin("chain", Values("n", "0"))
	r.Deploy(Chain(5))
	r.Restart()
	close(release)
	require.Equal(t, "2", string(r.Wait(run).Result["n"]))
	s, err := r.StartRun(t.Context(), app.StartRun{Project: "p", DeploymentID: first, Inputs: Values("n", "0")})
	require.NoError(t, err)
	require.Equal(t, "2", string(r.Wait(s.ID).Result["n"]))
	_, err = r.StartRun(t.Context(), app.StartRun{Project: "other", DeploymentID: first, Inputs: Values("n", "0")})
	require.True(t, fault.Is(err, fault.NotFound), "%v", err)
	require.NoError(t, r.Undeploy(t.Context(), "p", r.liveID(t)))
	_, err = r.StartRun(t.Context(), app.StartRun{Project: "p", Workflow: "chain", Inputs: Values("n", "0")})
	require.True(t, fault.Is(err, fault.NotFound), "%v", err)
}

func (r *Runner) liveID(t *testing.T) string {
	live, _ := r.Live()
	require.Len(t, live, 1)
	return live[0].ID
}

func cancelInbox(t *testing.T, open func(t *testing.T) Database) {
	begun := make(chan struct{}, 1)
	exec := NewExecutor(func(ctx context.Context, _ app.Execution) Result {
		begun <- struct{}{}
		<-ctx.Done()
		return Result{Outcome: app.Cancelled}
	})
	r := Start(t, open(t), exec)
	r.Deploy(Chain(2))
	run := r.Begin("chain", Values("n", "0"))
	<-begun
	require.NoError(t, r.DB.Store.AddCommand(t.Context(), app.InboxCommand{ID: "c1", Run: run, Kind: "cancel", Reason: "before the crash", At: clock()}))
	r.Restart()
	res := r.Wait(run)
	require.Equal(t, domain.RunCancelled, res.State)
	require.Equal(t, "before the crash", res.Error.Message)
}
