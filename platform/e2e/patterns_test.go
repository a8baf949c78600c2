package e2e

import (
	"encoding/json"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/e2e/harness"
)

// TestPatterns runs every example of a construct as a person would.
func TestPatterns(t *testing.T) { patterns(t, start(t)) }

func patterns(t *testing.T, p *harness.Platform) {
	t.Helper()
	dir := filepath.Join(harness.Root(), "functions", "examples", "patterns")
	deploy(t, p, dir, "pattern-switch", "pattern-loop", "pattern-wait", "pattern-order", "pattern-subworkflow", "pattern-catch", "pattern-undo",
		"pattern-failed", "pattern-cache", "pattern-collect", "pattern-each", "pattern-limits")
	ctx := deadline(t, 3*time.Minute)
	run := func(name, inputs string) harness.Run {
		t.Helper()
		r, err := p.StartRun(ctx, name, json.RawMessage(inputs))
		require.NoError(t, err)
		r, err = p.WaitRun(ctx, r.ID)
		require.NoError(t, err)
		return r
	}
	result := func(name, inputs, want string) {
		t.Helper()
		r := run(name, inputs)
		require.Equal(t, "completed", r.State, "%+v", r)
		got, err := json.Marshal(r.Result)
		require.NoError(t, err)
		require.JSONEq(t, want, string(got))
	}
	result("pattern-switch", `{}`, `{"case":"book","said":"parcel with book"}`)
	result("pattern-switch", `{"kind":"voucher"}`, `{"case":"voucher","said":"a voucher by mail"}`)
	result("pattern-switch", `{"kind":"car"}`, `{"case":null,"said":"nobody sells car"}`)
	result("pattern-loop", `{}`, `{"progress":100}`)
	result("pattern-wait", `{}`, `{"said":"waited for 1s"}`)
	sub := run("pattern-subworkflow", `{"orders":["book","no-lamp"]}`)
	require.Equal(t, "completed", sub.State)
	var orders []struct {
		Parcel string
		Error  struct{ Kind, Message string }
	}
	require.NoError(t, json.Unmarshal(sub.Result["orders"], &orders))
	require.Equal(t, "parcel with book", orders[0].Parcel)
	require.Equal(t, "out_of_stock", orders[1].Error.Kind)
	require.Regexp(t, "^run [0-9a-f-]{36} of pattern-order: .*there is no lamp left$", orders[1].Error.Message)
	result("pattern-catch", `{}`, `{"parcel":"an apology: there is no book left","note":"no gift: there is no gift left"}`)
	result("pattern-collect", `{}`, `{"parcels":["parcel with book-0","parcel with book-1","none","parcel with book-3"],"said":"4 of 4"}`)
	result("pattern-each", `{}`, `{"parcels":["parcel with book","parcel with pen"]}`)

	undone := run("pattern-undo", `{}`)
	require.Equal(t, "failed", undone.State)
	refunded := false
	for _, s := range undone.Steps {
		refunded = refunded || s.Step == "charge.undo" && s.State == "completed"
	}
	require.True(t, refunded, "%+v", undone.Steps)

	before := run("pattern-cache", `{}`)
	require.NoError(t, harness.Until(ctx, "a run takes the outputs of the one before", func() (bool, error) {
		again := run("pattern-cache", `{}`)
		same := string(again.Result["asked_at"]) == string(before.Result["asked_at"])
		before = again // a run that was started twice, since an answer was lost, may have filled the cache
		return same, nil
	}))

	a := run("pattern-limits", `{"order":"7"}`)
	b := run("pattern-limits", `{"order":"7"}`)
	require.Equal(t, a.ID, b.ID, "an order is taken once")
}
