package domain_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/studio/internal/domain"
)

// of makes shares of pairs of revision and weight.
func of(pairs ...int) []domain.Share {
	var out []domain.Share
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, domain.Share{Revision: pairs[i], Weight: pairs[i+1]})
	}
	return out
}

func TestNewTraffic(t *testing.T) {
	var many []int
	for i := range 11 {
		many = append(many, i+1, 9)
	}
	many[1] = 10
	for name, c := range map[string]struct {
		asked []domain.Share
		want  domain.Traffic
		wrong []string // paths
	}{
		"all":                {asked: of(3, 100), want: of(3, 100)},
		"two, in order":      {asked: of(8, 10, 7, 90), want: of(7, 90, 8, 10)},
		"nothing is left":    {asked: of(7, 0, 8, 100), want: of(8, 100)},
		"three":              {asked: of(1, 34, 2, 33, 3, 33), want: of(1, 34, 2, 33, 3, 33)},
		"none":               {wrong: []string{"weights"}},
		"99":                 {asked: of(1, 99), wrong: []string{"weights"}},
		"101":                {asked: of(1, 50, 2, 51), wrong: []string{"weights"}},
		"all 0":              {asked: of(1, 0, 2, 0), wrong: []string{"weights"}},
		"twice":              {asked: of(1, 50, 1, 50), wrong: []string{"weights[1].revision"}},
		"below 0, above 100": {asked: of(1, -1, 2, 101), wrong: []string{"weights[0].weight", "weights[1].weight"}},
		"no revision":        {asked: of(0, 50, -2, 50), wrong: []string{"weights[0].revision", "weights[1].revision"}},
		"both":               {asked: of(0, 200), wrong: []string{"weights[0].revision", "weights[0].weight"}},
		"eleven":             {asked: of(many...), wrong: []string{"weights"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := domain.NewTraffic(c.asked)
			require.Equal(t, c.want, got)
			if c.wrong == nil {
				require.NoError(t, err)
				return
			}
			var paths []string
			for _, f := range fault.As(err).Fields {
				require.NotEmpty(t, f.Remedy)
				paths = append(paths, f.Path)
			}
			require.Equal(t, c.wrong, paths)
			require.True(t, fault.Is(err, fault.Invalid))
		})
	}
}

func TestLeader(t *testing.T) {
	for _, c := range []struct {
		t    domain.Traffic
		want int
	}{
		{of(7, 100), 7},
		{of(7, 90, 8, 10), 7},
		{of(7, 10, 8, 90), 8},
		{of(7, 50, 8, 50), 7},
		{of(7, 30, 8, 35, 9, 35), 8},
	} {
		require.Equal(t, c.want, c.t.Leader().Revision, "%v", c.t)
	}
}

func TestGive(t *testing.T) {
	for name, c := range map[string]struct {
		now              domain.Traffic
		revision, weight int
		want             domain.Traffic
		kind             fault.Kind
	}{
		"a new one":            {of(7, 100), 8, 10, of(7, 90, 8, 10), ""},
		"an older one":         {of(7, 100), 3, 25, of(3, 25, 7, 75), ""},
		"more":                 {of(7, 90, 8, 10), 8, 50, of(7, 50, 8, 50), ""},
		"less":                 {of(7, 10, 8, 90), 8, 1, of(7, 99, 8, 1), ""},
		"all":                  {of(7, 90, 8, 10), 9, 100, of(9, 100), ""},
		"all of nothing":       {nil, 9, 100, of(9, 100), ""},
		"a third":              {of(7, 90, 8, 10), 9, 10, nil, fault.Conflict},
		"itself":               {of(7, 100), 7, 10, nil, fault.Conflict},
		"nothing is deployed":  {nil, 7, 10, nil, fault.Conflict},
		"0":                    {of(7, 100), 8, 0, nil, fault.Invalid},
		"more than there is":   {of(7, 100), 8, 101, nil, fault.Invalid},
		"less than nothing":    {of(7, 100), 8, -1, nil, fault.Invalid},
		"one of three, as was": {of(7, 30, 8, 30, 9, 40), 9, 100, of(9, 100), ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := c.now.Give(c.revision, c.weight)
			require.Equal(t, c.want, got)
			require.Equal(t, c.kind != "", err != nil, "%v", err)
			if err != nil {
				require.True(t, fault.Is(err, c.kind), "%v", err)
			}
		})
	}
}

func TestSplit(t *testing.T) {
	alone := domain.Deployment{ID: "d", Number: 7}
	require.Equal(t, domain.Traffic{{Revision: 7, Weight: 100, Deployment: "d"}}, alone.Split())
	shared := domain.Deployment{ID: "d", Number: 7, Traffic: of(7, 90, 8, 10)}
	require.Equal(t, 10, shared.Split().Of(8))
	require.Zero(t, shared.Split().Of(9))
	require.True(t, shared.Split().Same(of(7, 90, 8, 10)))
	require.False(t, shared.Split().Same(of(7, 90, 8, 5, 9, 5)))
	require.False(t, shared.Split().Same(alone.Split()))
}
