package apptest

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/kit/id"
	"github.com/pelton-run/pelton/platform/runner/internal/app"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
)

// version is a revision of the workflow "shared" whose every step tells the revision's build.
func version(number int, inputs ...domain.Item) domain.Definition {
	build := fmt.Sprintf("sha256:v%d", number)
	d := Workflow("shared", Step("a", "n", "0"), Step("b", "n", `"${steps.a.v}"`))
	d.Steps[1].Needs = []string{"a"}
	for i := range d.Steps {
		d.Steps[i].Build = build
	}
	d.Builds = []domain.Build{{Digest: build, Action: fmt.Sprintf("test@%d.0", number), Kind: "Processor", Runtime: "python3"}}
	d.Revision, d.Inputs = number, inputs
	d.Result = map[string]string{"a": "${steps.a.v}", "b": "${steps.b.v}"}
	return d
}

// tellBuild answers with the number of the build that an attempt is of.
func tellBuild(_ context.Context, x app.Execution) Result {
	return One("v", x.Build.Digest[len("sha256:v"):])
}

// DeployShared makes a workflow live whose first definition leads, and gives the ids that runs of each name.
func (r *Runner) DeployShared(weights []int, parts ...domain.Definition) []string {
	r.t.Helper()
	o := app.DeployWorkflow{ID: id.New(), Project: "p", Definition: parts[0], At: clock(), Weight: weights[0]}
	ids := []string{o.ID}
	for i, d := range parts[1:] {
		sh := app.Share{Deployment: id.New(), Weight: weights[i+1], Definition: d}
		o.Shares, ids = append(o.Shares, sh), append(ids, sh.Deployment)
	}
	require.NoError(r.t, r.Service.Deploy(r.t.Context(), o))
	got, err := r.Service.Deployment(r.t.Context(), "p", o.ID)
	require.NoError(r.t, err)
	require.Equal(r.t, app.DeploymentLive, got.State, got.Reason)
	require.Len(r.t, got.Parts(), len(parts))
	return ids
}

// count starts runs and tells how many were of each version. None may mix them.
func (r *Runner) count(n int, order func(i int) app.StartRun) map[string]int {
	r.t.Helper()
	got := map[string]int{}
	for i := range n {
		s, err := r.StartRun(r.t.Context(), order(i))
		require.NoError(r.t, err)
		got[r.versionOf(s.ID)]++
	}
	return got
}

func (r *Runner) versionOf(run string) string {
	r.t.Helper()
	res := r.Wait(run)
	require.Equal(r.t, domain.RunCompleted, res.State, "%v", res.Error)
	require.Equal(r.t, string(res.Result["a"]), string(res.Result["b"]), "run %s is of two versions", run)
	d, err := r.GetRun(r.t.Context(), "p", run)
	require.NoError(r.t, err)
	require.Equal(r.t, strconv.Itoa(d.Revision), string(res.Result["a"]), "run %s", run)
	return string(res.Result["a"])
}

func plain(int) app.StartRun {
	return app.StartRun{Project: "p", Workflow: "shared", Trigger: app.Trigger{Kind: "manual"}}
}

func traffic(t *testing.T, open func(t *testing.T) Database) {
	r := Start(t, open(t), NewExecutor(tellBuild))
	v1, v2, v3 := version(1), version(2), version(3)
	r.Deploy(v1)
	require.Equal(t, map[string]int{"1": 5}, r.count(5, plain))

	ids := r.DeployShared([]int{75, 25}, v1, v2)
	got := r.count(200, plain)
	// Four and a half standard deviations of 200 draws at 1/4 are 28.
	require.InDelta(t, 50, got["2"], 28, "%v", got)
	require.Equal(t, 200, got["1"]+got["2"])

	r.Restart()
	live, _ := r.Live()
	require.Len(t, live, 1, "one listens")
	require.Len(t, live[0].Shares, 1)
	got = r.count(60, plain)
	require.Positive(t, got["1"])
	require.Positive(t, got["2"], "the split outlives a restart")
	share, err := r.Service.Deployment(t.Context(), "p", ids[1])
	require.NoError(t, err)
	require.Equal(t, app.DeploymentLive, share.State)
	named, err := r.Named(t.Context())
	require.NoError(t, err)
	require.True(t, named.Builds["p"]["sha256:v1"] && named.Builds["p"]["sha256:v2"], "%v", named)

	// A split that cannot come up leaves the one before.
	bad := version(4)
	bad.Builds[0].Digest, bad.Steps[0].Build, bad.Steps[1].Build = "bad", "bad", "bad"
	failed := app.DeployWorkflow{ID: id.New(), Project: "p", Definition: v1, At: clock(), Weight: 50, Shares: []app.Share{{Deployment: id.New(), Weight: 50, Definition: bad}}}
	require.NoError(t, r.Service.Deploy(t.Context(), failed))
	d, err := r.Service.Deployment(t.Context(), "p", failed.ID)
	require.NoError(t, err)
	require.Equal(t, app.DeploymentFailed, d.State)
	require.Equal(t, "revision 4: test@4.0: the bundle is not there", d.Reason)
	require.Equal(t, ids[0], r.liveID(t))

	r.DeployShared([]int{98, 1, 1}, v2, v1, v3)
	require.Greater(t, r.count(40, plain)["2"], 20)
	r.Deploy(v3)
	require.Equal(t, map[string]int{"3": 20}, r.count(20, plain))
	share, err = r.Service.Deployment(t.Context(), "p", ids[1])
	require.NoError(t, err)
	require.Equal(t, app.DeploymentStopped, share.State)

	// What a superseded share has run can be run again on it.
	s, err := r.Service.Again(t.Context(), app.RunAgain{Project: "p", Run: r.oneOf(ids[1]), Same: true})
	require.NoError(t, err)
	require.Equal(t, "2", r.versionOf(s.ID))
}

// oneOf is a run of a deployment.
func (r *Runner) oneOf(deployment string) string {
	r.t.Helper()
	runs, _, err := r.Runs(r.t.Context(), app.RunQuery{Project: "p", Limit: 1000})
	require.NoError(r.t, err)
	for _, x := range runs {
		if x.Deployment == deployment {
			return x.ID
		}
	}
	r.t.Fatal("no run of " + deployment)
	return ""
}

func trafficKeys(t *testing.T, open func(t *testing.T) Database) {
	r := Start(t, open(t), NewExecutor(tellBuild))
	input := domain.Item{Name: "who", Type: "string", Optional: true}
	v1, v2 := version(1, input), version(2, input, domain.Item{Name: "more", Type: "integer", Default: domain.Value("7")})
	for _, d := range []*domain.Definition{&v1, &v2} {
		d.Concurrency = &domain.LimitSpec{Key: json.RawMessage(`"${inputs.who}"`), Limit: 5, Policy: "queue"}
	}
	r.DeployShared([]int{50, 50}, v1, v2)

	// One key, one version, however often it comes.
	seen := map[string]string{}
	for i := range 60 {
		who := fmt.Sprint("customer", i%12)
		s, err := r.StartRun(t.Context(), app.StartRun{Project: "p", Workflow: "shared", Inputs: Values("who", `"`+who+`"`)})
		require.NoError(t, err)
		v := r.versionOf(s.ID)
		require.Contains(t, []string{"", v}, seen[who], "%s has two versions", who)
		seen[who] = v
	}

	// A repeated request finds its run, whatever the weights are by then.
	first := map[string]app.StartedRun{}
	order := func(i int) app.StartRun {
		return app.StartRun{Project: "p", Workflow: "shared", Inputs: Values("who", `"a"`), IdempotencyKey: fmt.Sprint("request ", i)}
	}
	of := map[string]int{}
	for i := range 20 {
		s, err := r.StartRun(t.Context(), order(i))
		require.NoError(t, err)
		require.True(t, s.Created)
		first[fmt.Sprint(i)] = s
		of[r.versionOf(s.ID)]++
	}
	require.Positive(t, of["1"])
	require.Positive(t, of["2"])
	again := func(why string) {
		for i := range 20 {
			s, err := r.StartRun(t.Context(), order(i))
			require.NoError(t, err, why)
			require.False(t, s.Created, why)
			require.Equal(t, first[fmt.Sprint(i)].ID, s.ID, why)
		}
	}
	again("the same weights")
	r.DeployShared([]int{99, 1}, v2, v1)
	again("other weights")
	r.Deploy(v1)
	again("the old version alone")
	other := order(3)
	other.Inputs = Values("who", `"b"`)
	_, err := r.StartRun(t.Context(), other)
	require.True(t, fault.Is(err, fault.Conflict), "%v", err)
}

func trafficHome(t *testing.T, open func(t *testing.T) Database) {
	r := Start(t, open(t), NewExecutor(tellBuild))
	v1, v2 := version(1), version(2, domain.Item{Name: "must", Type: "string"})
	v1.Triggers = []domain.TriggerSpec{{ID: "in", Uses: "http"}, {ID: "only", Uses: "http"}}
	v2.Triggers = []domain.TriggerSpec{{ID: "in", Uses: "http"}}
	ids := r.DeployShared([]int{51, 49}, v1, v2)
	require.Equal(t, map[string]int{"1": 30}, r.count(30, plain), "the other version does not take runs without its input")

	v2.Inputs[0].Optional = true
	ids = r.DeployShared([]int{51, 49}, v1, v2)
	for _, c := range []struct {
		trigger string
		shared  bool
	}{{"in", true}, {"only", false}} {
		got := r.count(40, func(int) app.StartRun {
			return app.StartRun{Project: "p", DeploymentID: ids[0], Trigger: app.Trigger{Kind: "http", ID: c.trigger}, Event: domain.Value(`{}`)}
		})
		require.Equal(t, c.shared, got["2"] > 0, "%s: %v", c.trigger, got)
	}

	// What a source has taken counts on while its revision leads, and begins anew with another's.
	event := app.StartRun{Project: "p", DeploymentID: ids[0], Trigger: app.Trigger{Kind: "source", ID: "in"}, Event: domain.Value(`{}`), EventKey: "e1", Cursor: []byte(`"c1"`)}
	s, err := r.StartRun(t.Context(), event)
	require.NoError(t, err)
	require.True(t, s.Created)
	listener := func() string {
		live, _ := r.Live()
		require.Len(t, live, 1)
		return live[0].Listens()
	}
	ids = r.DeployShared([]int{90, 10}, v1, v2)
	event.DeploymentID = ids[0]
	again, err := r.StartRun(t.Context(), event)
	require.NoError(t, err)
	require.Equal(t, s.ID, again.ID)
	r.Deploy(v1)
	r.Restart()
	cursor, err := r.SourceCursor(t.Context(), listener(), "in")
	require.NoError(t, err)
	require.Equal(t, `"c1"`, string(cursor))
	r.DeployShared([]int{90, 10}, v2, v1)
	cursor, err = r.SourceCursor(t.Context(), listener(), "in")
	require.NoError(t, err)
	require.Empty(t, cursor)

	for name, o := range map[string]app.DeployWorkflow{
		"weight":               {Definition: v1, Weight: 40},
		"shares[0].weight":     {Definition: v1, Weight: 100, Shares: []app.Share{{Deployment: id.New(), Definition: v2}}},
		"shares[0].definition": {Definition: v1, Weight: 50, Shares: []app.Share{{Deployment: id.New(), Weight: 50, Definition: Chain(1)}}},
	} {
		o.ID, o.Project = id.New(), "p"
		err := r.Service.Deploy(t.Context(), o)
		require.True(t, fault.Is(err, fault.Invalid), "%s: %v", name, err)
		require.Equal(t, name, fault.As(err).Fields[0].Path)
	}
}

func trafficItself(t *testing.T, open func(t *testing.T) Database) {
	r := Start(t, open(t), NewExecutor(tellBuild))
	again := func(number int) domain.Definition {
		none := domain.Value("0")
		d := version(number, domain.Item{Name: "deep", Type: "integer", Default: none}, domain.Item{Name: "deeper", Type: "integer", Default: none})
		d.Steps = append(d.Steps, domain.StepSpec{ID: "itself", Kind: "workflow", Workflow: "shared", If: "inputs.deep == 1", With: map[string]json.RawMessage{"deep": json.RawMessage(`"${inputs.deeper}"`)}})
		return d
	}
	r.DeployShared([]int{50, 50}, again(1), again(2))
	for range 12 {
		v := r.versionOf(r.Begin("shared", Values("deep", "1", "deeper", "1")))
		runs, _, err := r.Runs(t.Context(), app.RunQuery{Project: "p", Limit: 3})
		require.NoError(t, err)
		require.Len(t, runs, 3)
		for _, x := range runs {
			require.Equal(t, v, strconv.Itoa(x.Revision), "a version called the other")
		}
	}
}
