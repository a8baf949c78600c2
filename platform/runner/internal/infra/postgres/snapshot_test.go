package postgres_test

import (
	"context"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/kit/pgtest"
	"github.com/pelton-run/pelton/platform/runner/internal/app"
	"github.com/pelton-run/pelton/platform/runner/internal/app/apptest"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
	"github.com/pelton-run/pelton/platform/runner/internal/infra/postgres"
)

// TestSnapshots stops the runner in the middle of a long run: the next one goes on from the newest
// snapshot, or from the whole journal if a version that it does not know wrote that snapshot.
func TestSnapshots(t *testing.T) {
	for name, damage := range map[string]string{
		"known":   "",
		"unknown": "UPDATE snapshot SET state = decode('ff', 'hex')",
		"cut off": "UPDATE snapshot SET state = substr(state, 1, length(state) - 40)",
	} {
		t.Run(name, func(t *testing.T) {
			const items = 1600
			pool := pgtest.New(t, "runner", postgres.Migrations, "migrations")
			last := make(chan struct{})
			var others sync.WaitGroup
			others.Add(items - 1)
			r := apptest.Start(t, on(t, pool), apptest.NewExecutor(func(_ context.Context, x app.Execution) apptest.Result {
				if x.ItemPath[0] == items-1 {
					<-last
				} else {
					others.Done() // once for each item, or the counter panics: none is started twice
				}
				return apptest.Result{Outputs: []domain.Values{{"n": x.Inputs["n"]}}}
			}))
			s := apptest.Step("each", "n", `"${item}"`)
			s.ForEach = &domain.ForEachSpec{In: "${inputs.list}", As: "item", Concurrency: 16}
			d := apptest.Workflow("w", s)
			d.Inputs = []domain.Item{{Name: "list", Type: "list"}}
			d.Result = map[string]string{"all": "${steps.each}"}
			r.Deploy(d)
			run := r.Begin("w", domain.Values{"list": domain.Value("[1" + strings.Repeat(",1", items-1) + "]")})
			others.Wait()
			r.Stop()
			r.Exec.Detach()
			l, err := r.DB.Store.LiveRun(t.Context(), run)
			require.NoError(t, err)
			require.NotEmpty(t, l.Snapshot)
			whole, err := r.DB.Store.RunRows(t.Context(), run)
			require.NoError(t, err)
			require.EqualValues(t, len(whole), l.SnapshotSeq+int64(len(l.Rows)))
			require.GreaterOrEqual(t, l.SnapshotSeq, int64(1000))
			if damage != "" {
				_, err := pool.Exec(t.Context(), damage)
				require.NoError(t, err)
			}
			r.Again()
			close(last)
			res := r.Wait(run)
			require.Equal(t, domain.RunCompleted, res.State, res.Error)
			require.Equal(t, `[{"n":1}`+strings.Repeat(`,{"n":1}`, items-1)+`]`, string(res.Result["all"]))
			detail, err := r.GetRun(t.Context(), "p", run)
			require.NoError(t, err)
			require.Len(t, detail.Steps, items+1)
			require.Equal(t, "1", string(detail.Steps[1].Inputs["n"]), "the items are shown whole")
			left := 0
			require.NoError(t, pool.QueryRow(t.Context(), "SELECT count(*) FROM snapshot").Scan(&left))
			require.Zero(t, left, "a snapshot goes with the end of its run")
		})
	}
}
