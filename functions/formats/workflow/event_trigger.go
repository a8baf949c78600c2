package workflow

import (
	"encoding/json"
	"regexp"

	"github.com/pelton-run/pelton/functions/formats/doc"
	"github.com/pelton-run/pelton/functions/formats/eventfilter"
)

// builtin are the kinds of triggers that no action implements.
var builtin = map[string]bool{"http": true, "cron": true, "workflow-end": true, "platform-event": true, "cloudevent": true}

// checkWorkflowEnd checks a trigger that starts a run when one of another workflow has ended.
func checkWorkflowEnd(t, with *doc.Node, w *Workflow) {
	if with == nil {
		t.Wrong("add with: {workflow: NAME}", "a trigger of the kind workflow-end wants the workflow whose runs it is about")
		return
	}
	if !with.Mapping() {
		return
	}
	if n := with.Need("workflow", "name the workflow whose runs it is about"); n != nil {
		if name := workflowName(n); name == w.Name && name != "" {
			n.Wrong("name another workflow", "the end of each of its runs would start the next one, for ever")
		}
	}
	if o := with.Get("on"); o != nil {
		o.OneOf("success", "failure", "any")
	}
	with.Only()
}

// platformTypes are the beginnings of the types of the platform's own events.
var platformTypes = regexp.MustCompile(`^io\.pelton\.|^\*$|^io\.\*$|^io\.pelton\*$`)

// checkPlatformEvent checks a trigger that starts runs for what happens in the project.
func checkPlatformEvent(t, with *doc.Node) {
	if with == nil {
		t.Wrong("add with: {types: [io.pelton.action.built.v1]}", "a trigger of the kind platform-event wants the types of events")
		return
	}
	if !with.Mapping() {
		return
	}
	if n := with.Need("types", "list types of events, as `pelton events types` shows them"); n != nil {
		for _, item := range n.Items() {
			if !platformTypes.MatchString(item.Text()) {
				item.Wrong("`pelton events types` lists them; events from outside are taken by the kind cloudevent", "no platform event has the type %q", item.Text())
			}
		}
	}
	checkFilter(with)
	with.Only()
}

var replyType = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:/-]{0,254}$`)

// checkCloudEvent checks a trigger that starts runs for events from outside.
func checkCloudEvent(with *doc.Node) {
	if with == nil || !with.Mapping() {
		return // it takes every event
	}
	checkFilter(with)
	if r := with.Get("reply"); r != nil && r.Mapping() {
		if n := r.Need("type", "give the type of the event that the workflow replies with"); n != nil {
			n.Names(replyType, "give a type such as com.example.order.checked")
		}
		if n := r.Get("source"); n != nil && n.Text() == "" {
			n.Wrong("give a URI such as /shop/checks, or leave it out", "is empty")
		}
		r.Only()
	}
	if n := with.Get("timeout"); n != nil {
		n.Duration()
		if with.Get("reply") == nil {
			n.Wrong("add reply: {type: …}, or leave it out", "nobody waits for the end of the run")
		}
	}
	with.Only()
}

// checkFilter checks types and filter.
func checkFilter(with *doc.Node) {
	if n := with.Get("types"); n != nil {
		for _, item := range n.Items() {
			report(item, []string{item.Text()}, nil)
		}
		if len(n.Items()) > eventfilter.MaxTypes {
			n.Wrong("name the beginning of several with a * at its end", "more than %d types are listed", eventfilter.MaxTypes)
		}
	}
	n := with.Get("filter")
	if n == nil {
		return
	}
	clauses := n.Items()
	if len(clauses) > eventfilter.MaxClauses {
		n.Wrong("put conditions together in one cel", "more than %d clauses are listed", eventfilter.MaxClauses)
	}
	for _, c := range clauses {
		one, err := json.Marshal([]json.RawMessage{c.JSON()})
		if err != nil {
			c.Wrong("give one of exact, prefix, suffix and cel", "is no clause")
			continue
		}
		report(c, nil, one)
	}
}

func report(at *doc.Node, types []string, filter json.RawMessage) {
	_, bad := eventfilter.Compile(types, filter)
	for _, p := range bad {
		at.Wrong(p.Remedy, "%s", p.Message)
	}
}
