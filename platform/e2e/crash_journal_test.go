package e2e

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/e2e/harness"
	"github.com/pelton-run/pelton/platform/kit/pgserver"
)

// The journal's encoding, as far as a judge needs it; its numbers are for ever. A row is a version
// and then facts of kind, length and body; the body of an attempt's facts is the time, the step's
// place in the plan, the path of items, the attempt, and for an end the outcome.
const (
	journalVersion     = 1
	factAttemptStarted = 4
	factAttemptEnded   = 5
	outcomeCompleted   = 1
	outcomeLost        = 4
)

// recorded is what the journal has of one attempt.
type recorded struct {
	started, ended int64 // Unix microseconds, 0 = not
	outcome        uint64
}

// journal is attempts by "run step", in order.
type journal map[string][]recorded

// finished tells whether the journal has a result of the step.
func (j journal) finished(key string) bool {
	a := j[key]
	return len(a) > 0 && a[len(a)-1].outcome == outcomeCompleted
}

// readJournal reads every run's journal from the platform's own database, past the platform, which
// may be down: its database outlives it until the next start. Backends first deal with what the
// platform had sent before it was killed; what is read then is what a restart will find.
func readJournal(ctx context.Context, t *testing.T, p *harness.Platform, steps []string) journal {
	t.Helper()
	dir := filepath.Join(p.Home, "pg")
	data, err := os.ReadFile(filepath.Join(dir, "passwords.json"))
	require.NoError(t, err)
	var passwords map[string]string
	require.NoError(t, json.Unmarshal(data, &passwords))
	socket, err := pgserver.SocketDir(dir, "pg")
	require.NoError(t, err)
	u := url.URL{Scheme: "postgres", User: url.UserPassword("pelton", passwords["pelton"]), Path: "/pelton_runner",
		RawQuery: url.Values{"host": {socket}, "sslmode": {"disable"}}.Encode()}
	conn, err := pgx.Connect(ctx, u.String())
	require.NoError(t, err, "the database is to outlive the platform")
	defer conn.Close(ctx)
	require.NoError(t, harness.Until(ctx, "the platform's connections have ended", func() (bool, error) {
		var n int
		err := conn.QueryRow(ctx, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()`).Scan(&n)
		return n == 0, err
	}))
	rows, err := conn.Query(ctx, `SELECT run::text, row FROM journal ORDER BY run, seq`)
	require.NoError(t, err)
	defer rows.Close()
	j := journal{}
	for rows.Next() {
		var run string
		var row []byte
		require.NoError(t, rows.Scan(&run, &row))
		require.NoError(t, j.add(run, row, steps))
	}
	require.NoError(t, rows.Err())
	return j
}

func (j journal) add(run string, row []byte, steps []string) error {
	if len(row) == 0 || row[0] != journalVersion {
		return fmt.Errorf("run %s: a row of version %v", run, row[:min(1, len(row))])
	}
	for row = row[1:]; len(row) > 0; {
		kind := row[0]
		size, n := binary.Uvarint(row[1:])
		if n <= 0 || uint64(len(row)-1-n) < size {
			return fmt.Errorf("run %s: a fact of kind %d is cut off", run, kind)
		}
		body := row[1+n : 1+n+int(size)]
		row = row[1+n+int(size):]
		if kind != factAttemptStarted && kind != factAttemptEnded {
			continue
		}
		at, n := binary.Varint(body)
		body = body[n:]
		next := func() (v uint64) {
			v, n := binary.Uvarint(body)
			body = body[max(n, 0):]
			return v
		}
		step := next()
		for range next() {
			next() // items of a forEach: there is none here
		}
		attempt := next()
		if step >= uint64(len(steps)) {
			return fmt.Errorf("run %s: a fact of step %d of %d", run, step, len(steps))
		}
		key := run + " " + steps[step]
		switch {
		case kind == factAttemptStarted && attempt == uint64(len(j[key]))+1:
			j[key] = append(j[key], recorded{started: at})
		case kind == factAttemptEnded && attempt >= 1 && attempt <= uint64(len(j[key])) && j[key][attempt-1].ended == 0:
			a := &j[key][attempt-1]
			a.ended, a.outcome = at, next()
		default:
			return fmt.Errorf("%s: the journal has a fact of kind %d about attempt %d after %d attempts", key, kind, attempt, len(j[key]))
		}
	}
	return nil
}

// judge holds a step's recorded attempts against the lines that they wrote: every line is of a
// recorded attempt, all attempts but the last are lost, and no two of them were under way at once.
func (j journal) judge(t *testing.T, key string, lines []mark) {
	t.Helper()
	attempts := j[key]
	require.NotEmpty(t, attempts, key)
	for i, a := range attempts {
		if i < len(attempts)-1 {
			require.EqualValues(t, outcomeLost, a.outcome, "%s: attempt %d of %d", key, i+1, len(attempts))
			require.LessOrEqual(t, a.ended, attempts[i+1].started, "%s: attempt %d starts before %d has ended", key, i+2, i+1)
			continue
		}
		require.EqualValues(t, outcomeCompleted, a.outcome, "%s: attempt %d of %d", key, i+1, len(attempts))
	}
	require.LessOrEqual(t, starts(lines), len(attempts), "%s: more starts than recorded attempts", key)
	under := 0 // the attempt that started last
	for _, m := range lines {
		require.LessOrEqual(t, m.attempt, len(attempts), "%s: a line of an attempt that is not recorded", key)
		if m.what == "start" {
			require.Greater(t, m.attempt, under, "%s: attempt %d started twice or out of order", key, m.attempt)
			under = m.attempt
			continue
		}
		require.Equal(t, under, m.attempt, "%s: attempt %d ended after %d had started", key, m.attempt, under)
	}
	require.Equal(t, mark{len(attempts), "end"}, lines[len(lines)-1], key)
}
