// Package problem is what is wrong with a file that an author wrote: where, what, and the mend.
package problem

import "fmt"

// Problem is one thing wrong. Lines and columns count from 1, 0 = unknown.
type Problem struct {
	File    string `json:"file,omitempty"`
	Line    int    `json:"line,omitempty"`
	Column  int    `json:"column,omitempty"`
	Path    string `json:"path,omitempty"` // spec.inputs[1].type
	Message string `json:"message"`
	Remedy  string `json:"remedy,omitempty"`
	Warning bool   `json:"warning,omitempty"` // worth telling, not wrong
}

func (p Problem) Error() string {
	s := p.File
	if p.Line > 0 {
		s += fmt.Sprintf(":%d", p.Line)
	}
	if s != "" {
		s += ": "
	}
	if p.Path != "" {
		s += p.Path + ": "
	}
	s += p.Message
	if p.Remedy != "" {
		s += " (" + p.Remedy + ")"
	}
	return s
}

// List are problems.
type List []Problem

// Errors tells whether any of them is more than a warning.
func (l List) Errors() bool {
	for _, p := range l {
		if !p.Warning {
			return true
		}
	}
	return false
}
