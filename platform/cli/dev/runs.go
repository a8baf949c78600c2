package dev

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// runner prints an event of the runner: the lines that user code prints, and the ends of runs.
func (p *printer) runner(data []byte) {
	var e struct {
		Type string
		Run  struct {
			ID, Workflow, State string
			CreatedAt           time.Time  `json:"created_at"`
			FinishedAt          *time.Time `json:"finished_at"`
			Error               *struct{ Kind, Message, Step string }
		}
		Log struct {
			Step     string
			ItemPath []int `json:"item_path"`
			Stream   string
			Level    string
			Line     string
			Dropped  uint64
		}
	}
	if json.Unmarshal(data, &e) != nil {
		return
	}
	switch e.Type {
	case "log":
		step := e.Log.Step
		for _, n := range e.Log.ItemPath {
			step += fmt.Sprintf("[%d]", n)
		}
		line := e.Log.Line
		if e.Log.Dropped > 0 {
			line = fmt.Sprintf("… %d lines were dropped: more than the log of a run keeps", e.Log.Dropped)
		}
		code := map[string]string{"error": "31", "warn": "33", "warning": "33", "debug": "2"}[e.Log.Level]
		p.line(p.paint("2", "["+step+"]") + " " + p.paint(code, line))
	case "run_finished":
		took := ""
		if e.Run.FinishedAt != nil {
			took = fmt.Sprintf("%d ms", e.Run.FinishedAt.Sub(e.Run.CreatedAt).Milliseconds())
		}
		code := map[string]string{"completed": "32", "failed": "31"}[e.Run.State]
		what := strings.TrimSpace(e.Run.Workflow + "  " + took)
		if f := e.Run.Error; f != nil && e.Run.State == "failed" {
			first, _, _ := strings.Cut(f.Message, "\n")
			what += "  " + f.Kind
			if f.Step != "" {
				what += " in " + f.Step
			}
			what += ": " + first
		}
		p.say(e.Run.State, code, what, "run "+e.Run.ID)
		if e.Run.State == "failed" && p.stack != nil {
			for line := range strings.Lines(p.stack(e.Run.ID)) {
				p.line("            " + p.paint("2", strings.TrimRight(line, "\r\n")))
			}
		}
	case "resync":
		p.say("", "2", "some lines are not shown: they came faster than this terminal takes them; `pelton run logs` has them all", "")
	}
}

// stackOf reads where a run failed, which its events do not carry.
func (s session) stackOf(ctx context.Context, run string) string {
	var r struct{ Error struct{ Stack string } }
	path := "/runner/v1/projects/" + url.PathEscape(s.Project) + "/runs/" + url.PathEscape(run)
	if err := s.client.json(ctx, http.MethodGet, path, nil, &r); err != nil {
		return "" // `pelton run show` tells it
	}
	return r.Error.Stack
}
