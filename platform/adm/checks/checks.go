// Package checks is a table of what doctor found: each thing, how it is, and how to mend it.
package checks

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/pelton-run/pelton/platform/kit/fault"
)

// State of a check.
type State string

// The states.
const (
	OK      State = "ok"
	Warning State = "warning" // it works; something is to be known
	Wrong   State = "wrong"
	Skipped State = "skipped" // it could not be looked at, for the reason told
)

// Check is one thing that was looked at.
type Check struct {
	Name   string `json:"name"`
	State  State  `json:"state"`
	Detail string `json:"detail"`
	Remedy string `json:"remedy,omitempty"`
}

// Table are checks in the order in which they were made. Not for concurrent use.
type Table []Check

// Add notes a check: wrong with the error's words, else ok with detail.
func (t *Table) Add(name, detail, remedy string, err error) {
	if err == nil {
		*t = append(*t, Check{Name: name, State: OK, Detail: detail})
		return
	}
	text := err.Error()
	if f := fault.As(err); f != nil {
		text = f.Error()
	}
	*t = append(*t, Check{Name: name, State: Wrong, Detail: text, Remedy: remedy})
}

// Skip notes what could not be looked at.
func (t *Table) Skip(name, why string) {
	*t = append(*t, Check{Name: name, State: Skipped, Detail: why})
}

// Warn notes what works and is to be known.
func (t *Table) Warn(name, detail, remedy string) {
	*t = append(*t, Check{Name: name, State: Warning, Detail: detail, Remedy: remedy})
}

// Well tells that nothing is wrong.
func (t Table) Well() bool {
	for _, c := range t {
		if c.State == Wrong {
			return false
		}
	}
	return true
}

// Print writes the table for people.
func (t Table) Print(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, c := range t {
		fmt.Fprintf(tw, "%s\t%s\t%s\n", c.State, c.Name, c.Detail)
		if c.Remedy != "" {
			fmt.Fprintf(tw, "\t\t-> %s\n", c.Remedy)
		}
	}
	return tw.Flush()
}

// JSON writes the table for programs.
func (t Table) JSON(w io.Writer) error {
	if t == nil {
		t = Table{}
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(map[string]any{"checks": t, "well": t.Well()})
}
