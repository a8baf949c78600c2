package dev

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
)

// printer prints one line per event; safe for concurrent use.
type printer struct {
	mu    sync.Mutex
	out   io.Writer
	color bool
	// seen are the problems told last, per place: a rescan does not tell the same again.
	seen map[string]string
	// stack is where a run failed. Nil: not told.
	stack func(run string) string
}

func newPrinter(out io.Writer, color bool) *printer {
	return &printer{out: out, color: color, seen: map[string]string{}}
}

func (p *printer) paint(code, s string) string {
	if !p.color || code == "" {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

// say prints "  verb      what  note".
func (p *printer) say(verb, code, what, note string) {
	line := "  " + p.paint(code, fmt.Sprintf("%-9s", verb)) + " " + what
	if note != "" {
		line += "  " + p.paint("2", note)
	}
	p.line(line)
}

// line prints a whole line in one write: others write to the same terminal.
func (p *printer) line(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, _ = io.WriteString(p.out, text+"\n") // a terminal that is gone ends this program anyway
}

type location struct {
	File    string `json:"file"`
	Line    int    `json:"line"`
	Column  int    `json:"column"`
	Path    string `json:"path"` // of the field
	Message string `json:"message"`
	Remedy  string `json:"remedy"`
	// Proposal is what the studio calls the remedy.
	Proposal string `json:"proposal"`
}

func (l location) String() string {
	where := l.File
	if l.Line > 0 {
		where += fmt.Sprintf(":%d", l.Line)
	}
	s := l.Message
	if l.Path != "" {
		s = l.Path + ": " + s
	}
	if where != "" {
		s = where + ": " + s
	}
	if l.Remedy == "" {
		l.Remedy = l.Proposal
	}
	if l.Remedy != "" {
		s += " (" + l.Remedy + ")"
	}
	return s
}

// told says whether the same text was the last one told of a place, and remembers it.
func (p *printer) told(place, text string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.seen[place] == text {
		return true
	}
	p.seen[place] = text
	return false
}

// said tells whether the text is the last one told of a place.
func (p *printer) said(place, text string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.seen[place] == text
}

// repository prints an event of the repository service.
func (p *printer) repository(data []byte) {
	var e struct {
		Type     string
		Path     string
		Action   string
		Message  string
		Cached   bool
		PhasesMS map[string]int64 `json:"phases_ms"`
		Notes    []string
		Errors   []location
	}
	if json.Unmarshal(data, &e) != nil {
		return
	}
	name := e.Action
	if name == "" {
		name = e.Path
	}
	switch e.Type {
	case "build_started":
		p.say("building", "36", name, "")
	case "build_succeeded":
		if e.Cached {
			return
		}
		p.say("built", "32", name, phases(e.PhasesMS))
		for _, n := range e.Notes {
			p.say("", "2", n, "")
		}
	case "build_failed":
		p.say("failed", "31", name, "")
		for _, line := range strings.Split(strings.TrimSpace(e.Message), "\n") {
			p.say("", "31", line, "")
		}
	case "action_error", "workflow_error":
		var all []string
		for _, l := range e.Errors {
			all = append(all, l.String())
		}
		if len(all) == 0 && e.Message != "" {
			all = []string{e.Message}
		}
		if p.told("scan "+e.Path, strings.Join(all, "\n")) {
			return
		}
		for _, text := range all {
			p.say("error", "31", text, "")
		}
	}
}

func phases(ms map[string]int64) string {
	var total int64
	var parts []string
	for _, k := range []string{"fetch", "dependencies", "compile", "pack"} {
		total += ms[k]
		if ms[k] > 0 {
			parts = append(parts, fmt.Sprintf("%s %d ms", k, ms[k]))
		}
	}
	return fmt.Sprintf("%d ms", total) + map[bool]string{true: " (" + strings.Join(parts, ", ") + ")"}[len(parts) > 0]
}

// studio prints an event of the studio.
func (p *printer) studio(data []byte) {
	var e struct {
		Type     string
		Workflow string
		State    string
		Reason   string
		Revision int
		Path     string
		Problems []location
	}
	if json.Unmarshal(data, &e) != nil {
		return
	}
	switch e.Type {
	case "deployment_changed":
		switch e.State {
		case "live":
			p.say("live", "32", e.Workflow, fmt.Sprintf("revision %d", e.Revision))
		case "failed":
			p.say("failed", "31", e.Workflow, e.Reason)
		}
	case "workflow_problem":
		var all []string
		for _, l := range e.Problems {
			if l.File == "" {
				l.File = e.Path
			}
			all = append(all, l.String())
		}
		if len(all) == 0 && e.Reason != "" {
			all = []string{e.Workflow + ": " + e.Reason}
		}
		text := strings.Join(all, "\n")
		if p.told("workflow "+e.Workflow, text) || p.said("scan "+e.Path, text) {
			return
		}
		for _, text := range all {
			p.say("problem", "33", text, "")
		}
	}
}
