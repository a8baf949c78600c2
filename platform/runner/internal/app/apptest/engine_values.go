package apptest

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/kit/id"
	"github.com/pelton-run/pelton/platform/runner/internal/app"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
)

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
	require.Equal(t, []string{"output s0", "attempt s0 completed", "step s0 completed", "attempt s1 started", "step s1 running",
		"output s1", "attempt s1 completed", "step s1 completed", "run "}, kinds)
	require.Equal(t, domain.RunCompleted, last.Run.State)
	events, err = r.Watch(t.Context(), "p", run)
	require.NoError(t, err)
	require.Equal(t, domain.RunCompleted, (<-events).Run.State)
}

func fed(t *testing.T, open func(t *testing.T) Database) {
	exec := NewExecutor(func(ctx context.Context, x app.Execution) Result {
		res := AddOne(ctx, x)
		res.Logs = []string{"working"}
		return res
	})
	r := Start(t, open(t), exec)
	r.Deploy(Chain(1))
	ctx, stop := context.WithCancel(t.Context())
	mine, others := r.WatchProject(ctx, "p"), r.WatchProject(ctx, "other")
	run := r.Begin("chain", Values("n", "0"))
	r.Wait(run)
	var kinds []string
	for ev := range mine {
		id := ev.ID
		if ev.Run != nil {
			id = ev.Run.ID
		}
		require.Equal(t, run, id)
		kinds = append(kinds, ev.Kind)
		if ev.Kind == "run_finished" {
			require.Equal(t, domain.RunCompleted, ev.Run.State)
			break
		}
	}
	require.Equal(t, []string{"run_started", "log", "run_finished"}, kinds)
	stop()
	for range others {
		t.Fatal("another project's events were told")
	}
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

func mapped(t *testing.T, open func(t *testing.T) Database) {
	var got app.Execution
	exec := NewExecutor(func(_ context.Context, x app.Execution) Result { got = x; return One() })
	r := Start(t, open(t), exec)
	require.NoError(t, r.PutSecret(t.Context(), "p", "token", "hunter2"))
	w := Workflow("w", Step("s", "city", `"${inputs.city}"`, "pw", `"${inputs.pw}"`))
	w.Inputs = []domain.Item{{Name: "city", Type: "string"}, {Name: "pw", Type: "password"}}
	w.Triggers = []domain.TriggerSpec{{ID: "up", Uses: "http", Inputs: map[string]json.RawMessage{
		"city": json.RawMessage(`"${event.city}"`), "pw": json.RawMessage(`"${secrets.token}"`)}}}
	r.Deploy(w)
	s, err := r.StartRun(t.Context(), app.StartRun{Project: "p", Workflow: "w", Trigger: app.Trigger{Kind: "http", ID: "up"}, Event: domain.Value(`{"city":"Oslo"}`)})
	require.NoError(t, err)
	require.Equal(t, domain.RunCompleted, r.Wait(s.ID).State)
	require.Equal(t, `"Oslo"`, string(got.Inputs["city"]))
	require.Equal(t, `"hunter2"`, string(got.Inputs["pw"]))
	d, err := r.GetRun(t.Context(), "p", s.ID)
	require.NoError(t, err)
	require.Equal(t, domain.Masked, d.Inputs["pw"])
	require.Equal(t, app.Trigger{Kind: "http", ID: "up"}, d.Trigger)

	w.Triggers[0].Inputs["city"] = json.RawMessage(`"${secrets.token}"`)
	w.RevisionID = id.New()
	require.NoError(t, r.Service.Deploy(t.Context(), app.DeployWorkflow{ID: w.RevisionID, Project: "p", Definition: w}))
	dep, err := r.Service.Deployment(t.Context(), "p", w.RevisionID)
	require.NoError(t, err)
	require.Contains(t, dep.Reason, "a secret can go into an input of type password only")
}
