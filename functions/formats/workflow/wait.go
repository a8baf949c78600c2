package workflow

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/pelton-run/pelton/functions/formats/action"
	"github.com/pelton-run/pelton/functions/formats/doc"
	"github.com/pelton-run/pelton/functions/formats/schema"
)

// Wait is what a step waits for: one of For, Until, Signal and Approval.
type Wait struct {
	For      *Value // a duration
	Until    *Value // RFC 3339, or local time in Timezone
	Timezone string
	Signal   string
	Schema   json.RawMessage // JSON Schema of the signal's payload
	Approval *Approval
	Timeout  time.Duration // of a signal or an approval, 0 = none
}

// Approval asks a person.
type Approval struct {
	Title     *Value // nil = the step's id
	Form      []action.Item
	Approvers []string // names of users or role:<role>, empty = whoever may operate runs
	Reminder  time.Duration
	Timeout   time.Duration // before a step, 0 = none
}

// waits are the fields of which a wait has exactly one.
var waits = []string{"for", "until", "signal", "approval"}

var (
	approverPattern = regexp.MustCompile(`^[\p{L}\p{N}][\p{L}\p{N} ._-]{0,62}$`)
	roles           = []string{"operator", "developer", "admin"} // viewers decide nothing
)

func wait(n *doc.Node) *Wait {
	if !n.Mapping() {
		return nil
	}
	w := &Wait{}
	var given []string
	for _, field := range waits {
		if n.Get(field) != nil {
			given = append(given, field)
		}
	}
	switch len(given) {
	case 1:
	case 0:
		n.Wrong("give one of for, until, signal and approval", "says not what is waited for")
	default:
		n.Wrong("make two steps of it", "waits for one of %s", strings.Join(given, " and "))
	}
	only := func(field string, with ...string) *doc.Node {
		f := n.Get(field)
		if f != nil && len(given) == 1 && !slices.Contains(with, given[0]) {
			f.Wrong("leave it out", "is for %s", strings.Join(with, " and "))
		}
		return f
	}
	w.For = waitFor(n.Get("for"))
	w.Timezone = zone(only("timezone", "until"))
	w.Until = waitUntil(n.Get("until"), n.Get("timezone"))
	if s := n.Get("signal"); s != nil {
		w.Signal = s.Names(namePattern, nameAllowed)
	}
	w.Schema = payload(only("schema", "signal"))
	w.Approval = approval(n.Get("approval"), true)
	w.Timeout = duration(only("timeout", "signal", "approval"))
	n.Only()
	return w
}

// written tells whether a value is a text with an expression in it.
func written(n *doc.Node) bool { return n.Scalar() && strings.Contains(n.Text(), "${") }

func waitFor(n *doc.Node) *Value {
	if n == nil {
		return nil
	}
	if written(n) {
		return value(n)
	}
	n.Duration()
	raw, err := json.Marshal(n.Text())
	if err != nil {
		return nil
	}
	return &Value{JSON: raw, node: n}
}

// local are the ways to write a time without its offset.
var local = []string{"2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02 15:04:05", "2006-01-02 15:04", "2006-01-02"}

func waitUntil(n, timezone *doc.Node) *Value {
	if n == nil {
		return nil
	}
	if n.Scalar() && !written(n) {
		text := n.Text()
		_, exact := time.Parse(time.RFC3339, text)
		inLocal := slices.ContainsFunc(local, func(layout string) bool { _, err := time.Parse(layout, text); return err == nil })
		switch {
		case exact == nil && timezone != nil:
			timezone.Wrong("leave it out", "the time %s says its offset itself", text)
		case exact == nil || inLocal && timezone != nil:
		case inLocal:
			n.Wrong("add timezone: Europe/Paris, or an offset as in 2026-12-01T09:00:00+01:00", "the time %s has no time zone", text)
		default:
			n.Wrong("give a time such as 2026-12-01T09:00:00Z", "is %q", text)
		}
	} else if !n.Scalar() {
		n.Wrong("give a time such as 2026-12-01T09:00:00Z", "is no text")
	}
	return value(n)
}

// payload reads the JSON Schema of a signal's payload.
func payload(n *doc.Node) json.RawMessage {
	if n == nil {
		return nil
	}
	raw := n.JSON()
	if raw == nil {
		return nil
	}
	if _, err := schema.Compile(raw); err != nil {
		n.Wrong("write it as a JSON Schema: {type: object, properties: {…}}", "is no JSON Schema: %s", err)
	}
	return raw
}

// approval reads what a person is asked: by a step that waits, or before another step.
func approval(n *doc.Node, waits bool) *Approval {
	if n == nil || !n.Mapping() {
		return nil
	}
	a := &Approval{}
	if t := n.Get("title"); t != nil {
		if !t.Scalar() {
			t.Wrong("give a text", "is no text")
		}
		a.Title = value(t)
	}
	a.form(n.Get("form"), waits)
	a.approvers(n.Get("approvers"))
	a.Reminder = duration(n.Get("reminder"))
	if t := n.Get("timeout"); t != nil {
		if a.Timeout = t.Duration(); waits {
			t.Wrong("write wait: {approval: …, timeout: …}", "stands beside approval, not in it")
		}
	}
	n.Only()
	return a
}

func (a *Approval) form(n *doc.Node, waits bool) {
	if n == nil {
		return
	}
	if !waits {
		n.Wrong("ask in a step before it: wait: {approval: {form: …}}", "an approval before a step has no form: nothing would read it")
		return
	}
	a.Form = action.Items(n)
	for i, x := range n.Items() {
		if i < len(a.Form) && a.Form[i].Type == "password" {
			x.Wrong("keep it as a secret of the project", "what is answered is kept in the history: a password cannot be asked for")
		}
	}
}

func (a *Approval) approvers(n *doc.Node) {
	a.Approvers = texts(n)
	if n != nil && len(a.Approvers) == 0 {
		n.Wrong("name somebody, or leave it out for whoever may operate runs", "names nobody")
	}
	seen := map[string]bool{}
	for _, who := range a.Approvers {
		role, is := strings.CutPrefix(who, "role:")
		switch {
		case is && !slices.Contains(roles, role):
			remedy := "give one of role:" + strings.Join(roles, ", role:")
			if near := doc.Nearest(role, roles); near != "" {
				remedy = "did you mean role:" + near + "?"
			}
			n.Wrong(remedy, "there is no role %q", role)
		case !is && !approverPattern.MatchString(who):
			n.Wrong("give names of users, or role:operator", "is %q", who)
		case seen[who]:
			n.Wrong("name it once", "%s is given twice", who)
		}
		seen[who] = true
	}
}
