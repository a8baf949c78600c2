package domain

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Expression is one compiled value as written in a workflow: a literal, a reference or
// something to evaluate. infra/cel makes them; they are immutable and safe for concurrent use.
type Expression interface {
	// Text is the value as written.
	Text() string
	// Literal gives the constant value of an expression that reads nothing.
	Literal() (Value, bool)
	// Ref is set when the expression is a plain reference, which is passed on undecoded.
	Ref() (Ref, bool)
	// Steps names the steps that it reads, without duplicates.
	Steps() []string
	// Inputs names the workflow inputs that it reads, without duplicates.
	Inputs() []string
	// Tainted tells that it mentions secrets: it is evaluated at dispatch and never journalled.
	Tainted() bool
	// Tolerant tells that it calls always(), failed() or skipped(): a condition that
	// decides by itself what a failed or skipped need means.
	Tolerant() bool
	// Eval computes the value. It returns *StepError, or *NeedRefsError when it meets a value
	// kept in the filestore that is not loaded yet.
	Eval(sc *Scope) (Value, error)
}

// Ref is a plain reference. Name is one output, input or variable; empty = the whole root.
type Ref struct {
	Root string // inputs steps vars trigger, or the forEach name
	Step string // for steps
	Name string
}

// NeedRefsError tells that an expression reads values that lie in the filestore.
type NeedRefsError struct{ Refs []BlobRef }

func (n *NeedRefsError) Error() string {
	return fmt.Sprintf("%d values must be loaded from the filestore first", len(n.Refs))
}

// BlobRef names a value kept in the filestore.
type BlobRef struct {
	Digest string `json:"$ref"`
	Size   int64  `json:"size"`
}

// MaxLoaded is the size in bytes up to which an expression may read a value from the filestore.
const MaxLoaded = 1 << 20

// AsBlobRef tells whether v is a {"$ref"} value. It looks at the first bytes only unless it is.
func AsBlobRef(v Value) (BlobRef, bool) {
	i := 0
	for i < len(v) && (v[i] == ' ' || v[i] == '\n' || v[i] == '\t' || v[i] == '\r' || v[i] == '{') {
		i++
	}
	if len(v)-i < 6 || string(v[i:i+6]) != `"$ref"` || len(v) > 512 {
		return BlobRef{}, false
	}
	var b BlobRef
	if err := json.Unmarshal(v, &b); err != nil || !strings.HasPrefix(b.Digest, "sha256:") {
		return BlobRef{}, false
	}
	return b, true
}

// Compiler turns values and conditions as written into expressions. It refuses what it
// cannot understand with words that name the place in the text.
type Compiler interface {
	// Value compiles JSON whose strings may hold ${…}.
	Value(raw json.RawMessage, env Env) (Expression, error)
	// Text compiles an expression as written, with or without ${} around it.
	Text(text string, env Env) (Expression, error)
}

// Env is what an expression may name besides the fixed roots.
type Env struct {
	Item  string   // the forEach name, empty outside
	Steps []string // all steps of the workflow
	Event bool     // trigger mappings: the root `event`
	Loop  bool     // a loop's step: pass.index and pass.last
	Error bool     // outputs of catch: error.kind .message .code .details
	Self  string   // the step whose own outputs may be read: what takes it back, empty = none
}

// errf makes a typed error.
func errf(kind, format string, args ...any) *StepError {
	return &StepError{Kind: kind, Message: fmt.Sprintf(format, args...)}
}

// Error makes StepError usable as an error.
func (e *StepError) Error() string { return e.Kind + ": " + e.Message }

// JoinList makes a JSON array of values.
func JoinList(items []Value) Value {
	n := 2
	for _, it := range items {
		n += len(it) + 1
	}
	b := append(make(Value, 0, n), '[')
	for i, it := range items {
		if i > 0 {
			b = append(b, ',')
		}
		if it == nil {
			it = Value("null")
		}
		b = append(b, it...)
	}
	return append(b, ']')
}

func describe(v Value) string {
	for _, c := range v {
		switch c {
		case ' ', '\n', '\t', '\r':
			continue
		case '{':
			return "an object"
		case '[':
			return "a list"
		case '"':
			return "a string"
		case 't', 'f':
			return "a boolean"
		case 'n':
			return "null"
		default:
			return "a number"
		}
	}
	return "nothing"
}
