package cron

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func at(text string) time.Time {
	t, err := time.Parse("2006-01-02 15:04", text)
	if err != nil {
		panic(err)
	}
	return t
}

// TestNext: what is due after a downtime, by policy.
func TestNext(t *testing.T) {
	for name, c := range map[string]struct {
		with, from, now, due string
		left                 int
	}{
		"nothing missed":     {`{"schedule":"0 * * * *","catchUp":"none"}`, "2026-03-01 10:00", "2026-03-01 10:59", "2026-03-01 11:00", 0},
		"due this moment":    {`{"schedule":"0 * * * *"}`, "2026-03-01 10:00", "2026-03-01 11:00", "2026-03-01 11:00", 0},
		"none leaves out":    {`{"schedule":"0 * * * *","catchUp":"none"}`, "2026-03-01 10:00", "2026-03-01 13:30", "2026-03-01 14:00", 3},
		"last is default":    {`{"schedule":"0 * * * *"}`, "2026-03-01 10:00", "2026-03-01 13:30", "2026-03-01 13:00", 2},
		"last, long ago":     {`{"schedule":"0 6 * * *","catchUp":"last"}`, "2026-02-01 06:00", "2026-03-01 09:00", "2026-03-01 06:00", 27},
		"all begins first":   {`{"schedule":"0 * * * *","catchUp":"all"}`, "2026-03-01 10:00", "2026-03-01 13:30", "2026-03-01 11:00", 0},
		"all is bounded":     {`{"schedule":"* * * * *","catchUp":"all"}`, "2026-03-01 00:00", "2026-03-02 00:00", "2026-03-01 07:21", 440},
		"the zone counts":    {`{"schedule":"0 6 * * *","timezone":"Europe/Paris"}`, "2026-03-01 00:00", "2026-03-01 04:00", "2026-03-01 05:00", 0},
		"a day without 2:30": {`{"schedule":"30 2 * * *","timezone":"Europe/Paris","catchUp":"all"}`, "2026-03-28 02:00", "2026-03-31 12:00", "2026-03-30 00:30", 0},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := parse([]byte(c.with))
			require.NoError(t, err)
			due, left := s.next("k", at(c.from), at(c.now))
			require.Equal(t, c.due, due.UTC().Format("2006-01-02 15:04"))
			require.Equal(t, c.left, left)
		})
	}
	s, err := parse([]byte(`{"schedule":"0 0 30 2 *"}`))
	require.NoError(t, err)
	due, _ := s.next("k", at("2026-03-01 00:00"), at("2026-03-01 00:00"))
	require.True(t, due.IsZero(), "there is no 30th of February")
}

// TestJitter: within its bounds, spread, and the same whenever it is computed.
func TestJitter(t *testing.T) {
	s, err := parse([]byte(`{"schedule":"0 * * * *","jitter":"10m"}`))
	require.NoError(t, err)
	due := at("2026-03-01 11:00")
	seen := map[time.Duration]bool{}
	for _, key := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
		d := s.firesAt(key, due).Sub(due)
		require.Equal(t, d, s.firesAt(key, due).Sub(due))
		require.GreaterOrEqual(t, d, time.Duration(0))
		require.Less(t, d, 10*time.Minute)
		seen[d] = true
	}
	require.Greater(t, len(seen), 4)
	fires := s.firesAt("a", due)
	got, _ := s.next("a", at("2026-03-01 10:00"), fires.Add(-time.Second))
	require.Equal(t, due, got.UTC(), "it is not missed before it fires")
}
