package domain

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/pelton-run/pelton/platform/kit/fault"
)

// MaxShares is how many revisions may share the runs of a workflow: an order carries all their definitions.
const MaxShares = 10

// Share is a revision that takes some of a workflow's new runs.
type Share struct {
	Revision   int    `json:"revision"`
	Weight     int    `json:"weight"`     // of 100
	Deployment string `json:"deployment"` // that its runs name
}

// Traffic says how the new runs of a workflow are shared: the lowest revision first, weights of 1 to 100 that
// sum to 100.
type Traffic []Share

// NewTraffic makes of weights as they were asked for the traffic that they mean. Revisions with the weight 0 are
// left out. Every wrong entry is told, as weights[n].
func NewTraffic(asked []Share) (Traffic, error) {
	var bad []fault.Field
	wrong := func(i int, field, message, remedy string) {
		bad = append(bad, fault.Field{Path: fmt.Sprintf("weights[%d].%s", i, field), Message: message, Remedy: remedy})
	}
	var t Traffic
	seen := map[int]bool{}
	sum := 0
	for i, s := range asked {
		switch {
		case s.Revision < 1:
			wrong(i, "revision", fmt.Sprintf("is %d", s.Revision), "revisions are counted from 1")
		case seen[s.Revision]:
			wrong(i, "revision", fmt.Sprintf("names revision %d a second time", s.Revision), "give each revision once")
		}
		if s.Weight < 0 || s.Weight > 100 {
			wrong(i, "weight", fmt.Sprintf("is %d", s.Weight), "give a whole number from 0 to 100")
		}
		seen[s.Revision] = true
		if sum += s.Weight; s.Weight > 0 {
			t = append(t, Share{Revision: s.Revision, Weight: s.Weight})
		}
	}
	switch {
	case len(asked) == 0:
		bad = append(bad, fault.Field{Path: "weights", Message: "is missing", Remedy: "give revisions with weights that sum to 100"})
	case bad == nil && sum != 100:
		bad = append(bad, fault.Field{Path: "weights", Message: fmt.Sprintf("sum to %d", sum), Remedy: "give weights that sum to 100"})
	case len(t) > MaxShares:
		bad = append(bad, fault.Field{Path: "weights", Message: fmt.Sprintf("name %d revisions", len(t)), Remedy: fmt.Sprintf("give at most %d", MaxShares)})
	}
	if bad != nil {
		return nil, fault.InvalidFields(bad...)
	}
	slices.SortFunc(t, func(a, b Share) int { return cmp.Compare(a.Revision, b.Revision) })
	return t, nil
}

// Leader is the revision whose triggers listen: the one with the greatest weight, of equals the oldest.
func (t Traffic) Leader() Share {
	return slices.MaxFunc(t, func(a, b Share) int {
		return cmp.Or(cmp.Compare(a.Weight, b.Weight), cmp.Compare(b.Revision, a.Revision))
	})
}

// Of is the weight of a revision.
func (t Traffic) Of(revision int) int {
	for _, s := range t {
		if s.Revision == revision {
			return s.Weight
		}
	}
	return 0
}

// Same tells whether runs are shared alike.
func (t Traffic) Same(other Traffic) bool {
	return slices.EqualFunc(t, other, func(a, b Share) bool { return a.Revision == b.Revision && a.Weight == b.Weight })
}

// Give gives a revision a weight of 1 to 99 and leaves the rest to the one that takes runs besides it. Where there
// is none, or several, who gives up what has to be said.
func (t Traffic) Give(revision, weight int) (Traffic, error) {
	if weight < 1 || weight > 100 {
		return nil, fault.InvalidField("traffic", fmt.Sprintf("is %d", weight), "give a whole number from 1 to 100")
	}
	var others []int
	for _, s := range t {
		if s.Revision != revision {
			others = append(others, s.Revision)
		}
	}
	switch {
	case weight == 100:
		return NewTraffic([]Share{{Revision: revision, Weight: 100}})
	case len(others) == 0:
		return nil, fault.New(fault.Conflict, "no other revision takes the other %d of 100 runs: deploy revision %d without traffic", 100-weight, revision)
	case len(others) > 1:
		return nil, fault.New(fault.Conflict, "the revisions %v share the other runs: say all weights by `pelton workflow traffic`", others)
	}
	return NewTraffic([]Share{{Revision: revision, Weight: weight}, {Revision: others[0], Weight: 100 - weight}})
}
