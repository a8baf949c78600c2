package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/e2e/harness"
	"github.com/pelton-run/pelton/platform/kit/id"
)

// TestDeadLetters: a message that its consumer cannot read is kept, shown, handed over again and
// dropped, and the messages behind it get through.
func TestDeadLetters(t *testing.T) {
	p := start(t)
	ctx := deadline(t, 2*time.Minute)
	database, err := p.Database("studio")
	require.NoError(t, err)
	conn, err := pgx.Connect(ctx, database)
	require.NoError(t, err)
	defer conn.Close(ctx)
	message := id.New()
	_, err = conn.Exec(ctx, `INSERT INTO outbox (id, exchange, key, body, created_at) VALUES ($1, 'studio.v1', 'WorkflowDeployed', '\xff', now())`, message)
	require.NoError(t, err)

	dead := func(args ...string) string {
		t.Helper()
		out, err := p.Peltond(ctx, append([]string{"bus", "dead"}, args...)...)
		require.NoError(t, err, out)
		return out
	}
	listed := func() (bool, error) { return strings.Contains(dead("list", "runner.deployments"), message), nil }
	require.NoError(t, harness.Until(ctx, "it is a dead letter", listed))
	line := dead("list")
	require.Regexp(t, `runner\.deployments +`+message+` +studio\.v1\.WorkflowDeployed +\d{4}-\d\d-\d\dT\S+ +1 +message cannot be read`, line)
	require.Contains(t, dead("show", "runner.deployments", message), "body     (Base64) /w==")
	require.Contains(t, dead("replay", "runner.deployments", message), "handed to its queue again: "+message)
	require.NoError(t, harness.Until(ctx, "it is a dead letter again", listed))
	require.Contains(t, dead("drop", "runner.deployments", "--all"), "dropped "+message)
	require.Equal(t, "no dead letters\n", dead("list"))

	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"drop", "runner.deployments", message}, "queue runner.deployments gave up no message " + message},
		{[]string{"list", "runner.deploymnts"}, "did you mean runner.deployments?"},
		{[]string{"drop", "runner.deployments"}, "usage: peltond bus dead list [QUEUE]"},
		{[]string{"show", "runner.deployments"}, "usage: "},
	} {
		out, err := p.Peltond(ctx, append([]string{"bus", "dead"}, c.args...)...)
		require.Error(t, err)
		require.Contains(t, out, c.says)
	}
	deploy(t, p, counted(t), "counted")
}
