package workflow

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/pelton-run/pelton/functions/formats/action"
	"github.com/pelton-run/pelton/functions/formats/doc"
)

// Trigger starts runs.
type Trigger struct {
	ID     string
	Uses   string
	With   json.RawMessage
	Inputs []Value
	node   *doc.Node
}

func (w *Workflow) triggers(n *doc.Node) {
	if n == nil {
		return
	}
	seen := map[string]bool{}
	for _, t := range n.Items() {
		if !t.Mapping() {
			continue
		}
		x := Trigger{node: t}
		x.ID = t.Need("id", "name the trigger").Names(idPattern, idAllowed)
		if seen[x.ID] {
			t.Wrong("rename one of them", "the id %q is given twice", x.ID)
		}
		seen[x.ID] = true
		x.Uses = t.Need("uses", "give http, cron, workflow-end, platform-event, cloudevent, or a source action").Text()
		x.With = t.Get("with").JSON()
		x.Inputs = values(t.Get("inputs"))
		t.Only()
		switch x.Uses {
		case "http":
			checkHTTP(t.Get("with"), w)
		case "cron":
			checkCron(t, t.Get("with"))
		case "workflow-end":
			checkWorkflowEnd(t, t.Get("with"), w)
		case "platform-event":
			checkPlatformEvent(t, t.Get("with"))
		case "cloudevent":
			checkCloudEvent(t.Get("with"))
		}
		w.Triggers = append(w.Triggers, x)
	}
}

func checkHTTP(with *doc.Node, w *Workflow) {
	if with == nil || !with.Mapping() {
		return
	}
	if m := with.Get("method"); m != nil {
		m.OneOf("GET", "POST", "PUT", "PATCH", "DELETE", "ANY")
	}
	if p := with.Get("path"); p != nil && !strings.HasPrefix(p.Text(), "/") {
		p.Wrong("start it with /", "is %q", p.Text())
	}
	if m := with.Get("mode"); m != nil {
		m.OneOf("sync", "async", "stream")
	}
	streams := with.Get("mode").Text() == "stream"
	if s := with.Get("stream"); s != nil && !streams {
		s.Wrong("add mode: stream, or leave it out", "only a trigger of mode stream has it")
	}
	if r := with.Get("response"); r != nil && streams {
		r.Wrong("leave it out", "the answer of a trigger of mode stream is its events")
	}
	if a := with.Get("auth"); a != nil {
		a.OneOf("key", "token", "none", "signature")
	}
	checkSignature(with)
	if t := with.Get("timeout"); t != nil {
		t.Duration()
	}
	if m := with.Get("maxBytes"); m != nil && m.Bytes() == 0 {
		m.Wrong("give a size such as 512M or 2G", "would refuse every body")
	}
	if b := with.Get("body"); b != nil && b.Scalar() && !slices.ContainsFunc(w.Inputs, func(i action.Item) bool { return i.Name == b.Text() }) {
		b.Wrong("name one of the workflow's inputs", "there is no input %q", b.Text())
	}
	for _, name := range []string{"query", "header", "cookie", "response", "cors"} {
		with.Get(name)
	}
	with.Only()
}

// checkSignature checks what belongs to `auth: signature`.
func checkSignature(with *doc.Node) {
	if with.Get("auth").Text() != "signature" {
		for _, name := range []string{"secret", "scheme"} {
			if n := with.Get(name); n != nil {
				n.Wrong("add auth: signature, or leave it out", "only a trigger with auth: signature has it")
			}
		}
		return
	}
	with.Need("secret", "name the project's secret that requests are signed with").Names(idPattern, idAllowed)
	if s := with.Get("scheme"); s != nil {
		s.OneOf("standard", "github")
	}
}

// MaxJitter is how much later than its due time a schedule may be asked to fire.
const MaxJitter = time.Hour

func checkCron(t, with *doc.Node) {
	if with == nil || !with.Mapping() {
		if with == nil {
			t.Wrong(`add with: {schedule: "0 6 * * *"}`, "a cron trigger wants its schedule")
		}
		return
	}
	if s := with.Need("schedule", `give five fields such as "0 6 * * *"`); s != nil {
		if n := len(strings.Fields(s.Text())); n != 5 && !strings.HasPrefix(s.Text(), "@") {
			s.Wrong(`give five fields such as "0 6 * * *"`, "is %q", s.Text())
		}
	}
	zone(with.Get("timezone"))
	if c := with.Get("catchUp"); c != nil {
		c.OneOf("none", "last", "all")
	}
	if o := with.Get("overlap"); o != nil {
		o.OneOf("allow", "skip", "cancel-previous")
	}
	if j := with.Get("jitter"); j != nil {
		if d, err := time.ParseDuration(j.Text()); err != nil || d <= 0 || d > MaxJitter {
			j.Wrong("give a duration such as 30s or 5m, at most 1h", "is %q", j.Text())
		}
	}
	with.Only()
}

// zone reads the name of a time zone, "" where there is none.
func zone(n *doc.Node) string {
	if n == nil {
		return ""
	}
	name := n.Text()
	if _, err := time.LoadLocation(name); err != nil || name == "Local" || name == "" {
		n.Wrong("give a name such as Europe/Paris", "the time zone %q is not known", name)
		return ""
	}
	return name
}
