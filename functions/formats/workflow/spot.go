package workflow

import (
	"encoding/json"

	"github.com/pelton-run/pelton/functions/formats/doc"
	"github.com/pelton-run/pelton/functions/formats/expr"
)

// place says where an expression stands, which decides what it may name.
type place struct {
	step    string
	item    string // the forEach's name
	start   bool   // computed before there is a run
	event   bool
	secrets bool   // the value goes to an action and nowhere else
	loop    bool   // pass.index and pass.last
	again   bool   // pass.last is there on every pass
	failure bool   // error.kind and others
	self    string // the step whose own outputs may be read
}

// spot is one place of a workflow where expressions stand.
type spot struct {
	place
	node *doc.Node
	raw  json.RawMessage // a value whose texts may hold ${…}; nil: text is an expression
	text string
}

// texts are the spot's expressions.
func (s spot) texts() ([]string, error) {
	if s.raw == nil {
		return []string{s.text}, nil
	}
	return expr.Texts(s.raw)
}

func valueAt(v *Value, p place) []spot {
	if v == nil {
		return nil
	}
	return []spot{{place: p, node: v.node, raw: v.JSON}}
}

func valuesAt(list []Value, p place) []spot {
	var out []spot
	for i := range list {
		out = append(out, valueAt(&list[i], p)...)
	}
	return out
}

// textAt is the spot of an expression that is written without ${}; nothing where there is none.
func textAt(n *doc.Node, text string, p place) []spot {
	if n == nil || text == "" {
		return nil
	}
	return []spot{{place: p, node: n, text: text}}
}

// given is where a step's inputs stand.
func (x *Step) given() place {
	p := place{step: x.ID, secrets: true, loop: x.Loop != nil}
	if x.ForEach != nil {
		p.item = x.ForEach.As
	}
	return p
}

// spots are the places of a step where expressions stand, in the order in which they are told.
func (x *Step) spots() []spot {
	plain := place{step: x.ID}
	given := x.given()
	shown := place{step: x.ID, item: given.item, loop: given.loop}
	var out []spot
	if x.ForEach != nil {
		out = append(out, textAt(x.ForEach.node.Get("in"), unwrap(x.ForEach.In), plain)...)
	}
	out = append(out, textAt(x.node.Get("if"), x.If, plain)...)
	out = append(out, textAt(x.node.Get("switch"), x.Switch, plain)...)
	out = append(out, valuesAt(x.With, given)...)
	if x.Loop != nil {
		out = append(out, textAt(x.Loop.node.Get("until"), x.Loop.Until, place{step: x.ID, loop: true, again: true})...)
	}
	if w := x.Wait; w != nil {
		out = append(out, valueAt(w.For, shown)...)
		out = append(out, valueAt(w.Until, shown)...)
		if w.Approval != nil {
			out = append(out, valueAt(w.Approval.Title, shown)...)
		}
	}
	for _, c := range x.Catch {
		out = append(out, valuesAt(c.Outputs, place{step: x.ID, item: given.item, loop: given.loop, failure: true})...)
	}
	if x.Undo != nil {
		out = append(out, valuesAt(x.Undo.With, place{step: x.ID, item: given.item, loop: given.loop, secrets: true, self: x.ID})...)
	}
	if x.Cache != nil {
		out = append(out, valueAt(x.Cache.Key, shown)...)
	}
	if x.Approval != nil {
		out = append(out, valueAt(x.Approval.Title, shown)...)
	}
	if x.Concurrency != nil {
		out = append(out, valueAt(x.Concurrency.Key, shown)...)
	}
	return out
}

// keys are the places where expressions decide whether and when a run starts.
func (w *Workflow) keys() []spot {
	p := place{start: true}
	out := valueAt(w.IdempotencyKey, p)
	if w.Concurrency != nil {
		out = append(out, valueAt(w.Concurrency.Key, p)...)
	}
	if w.RateLimit != nil {
		out = append(out, valueAt(w.RateLimit.Key, p)...)
	}
	return out
}
