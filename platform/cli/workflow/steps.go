package workflow

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/pelton-run/pelton/platform/sdk/studio"
)

// steps are the lines that show a workflow's steps: id, what it does, what comes before.
func steps(d *studio.Definition) [][]string {
	if d == nil {
		return nil
	}
	var rows [][]string
	for _, s := range d.Steps {
		rows = append(rows, []string{s.ID, does(s), strings.Join(s.Needs, ", ")})
	}
	return rows
}

// does says in one line what a step does.
func does(s studio.Step) string {
	var out string
	switch {
	case s.Kind == "workflow" && s.Detach:
		out = "start workflow " + s.Workflow
	case s.Kind == "workflow":
		out = "workflow " + s.Workflow
	case s.Kind == "wait" && s.Wait != nil:
		out = waits(*s.Wait)
	case s.Kind == "switch":
		var ways []string
		for _, c := range s.Cases {
			ways = append(ways, c.Value+": "+strings.Join(c.Steps, " "))
		}
		if len(s.Default) > 0 {
			ways = append(ways, "otherwise: "+strings.Join(s.Default, " "))
		}
		out = "switch " + s.Switch + " (" + strings.Join(ways, "; ") + ")"
	case s.Kind == "collect":
		out = "collect " + s.Collect
	default:
		out = s.Uses
	}
	if s.ForEach != nil {
		out += ", " + forEach(*s.ForEach)
	}
	if s.Loop != nil {
		out += fmt.Sprintf(", until %s, at most %d times", s.Loop.Until, s.Loop.Max)
		if s.Loop.DelayMs > 0 {
			out += ", " + span(s.Loop.DelayMs) + " apart"
		}
	}
	if s.If != "" {
		out += ", if " + s.If
	}
	if s.Undo != "" {
		out += ", undone by " + s.Undo
	}
	for _, bound := range bounds(s) {
		out += ", " + bound
	}
	return out
}

func waits(w studio.Wait) string {
	switch {
	case w.Signal != "":
		return "wait for signal " + w.Signal
	case w.Approval != nil && len(w.Approval.Approvers) > 0:
		return "ask " + strings.Join(w.Approval.Approvers, ", ")
	case w.Approval != nil:
		return "ask an operator"
	case len(w.Until) > 0:
		return strings.TrimSpace("wait until " + written(w.Until) + " " + w.Timezone)
	}
	return "wait " + written(w.For)
}

// written is a value as its author wrote it.
func written(raw json.RawMessage) string {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return text
	}
	return string(raw)
}
