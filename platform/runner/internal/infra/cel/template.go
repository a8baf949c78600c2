package cel

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/pelton-run/pelton/platform/runner/internal/domain"
)

// part is one piece of a text: as written, or the inside of ${…}.
type part struct {
	text string
	hole bool
}

// split cuts a text at its ${…}; $${ stands for a literal ${.
func split(s string) ([]part, error) {
	var parts []part
	var plain strings.Builder
	flush := func() {
		if plain.Len() > 0 {
			parts = append(parts, part{text: plain.String()})
			plain.Reset()
		}
	}
	for i := 0; i < len(s); {
		switch {
		case strings.HasPrefix(s[i:], "$${"):
			plain.WriteString("${")
			i += 3
		case strings.HasPrefix(s[i:], "${"):
			end, ok := closing(s[i+2:])
			if !ok {
				return nil, fmt.Errorf("%q: a ${ is not closed by }", s)
			}
			flush()
			parts = append(parts, part{s[i+2 : i+2+end], true})
			i += 2 + end + 1
		default:
			plain.WriteByte(s[i])
			i++
		}
	}
	flush()
	return parts, nil
}

// closing finds the brace that ends an expression, past braces and quotes inside it.
func closing(s string) (int, bool) {
	depth := 0
	quote := byte(0)
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case quote != 0:
			if c == '\\' {
				i++
			} else if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			quote = c
		case c == '{':
			depth++
		case c == '}' && depth == 0:
			return i, true
		case c == '}':
			depth--
		}
	}
	return 0, false
}

// node is one value of a template. Exactly one of its forms is set.
type node struct {
	raw    domain.Value // no expression inside
	single *expression  // exactly one ${…}: it keeps its type
	text   []textPart
	list   []*node
	keys   []string
	fields []*node
}

type textPart struct {
	plain string
	expr  *expression
}

// template compiles a JSON value.
func (c *Compiler) template(raw json.RawMessage, env domain.Env) (*node, error) {
	trimmed := bytes.TrimSpace(raw)
	if !bytes.Contains(trimmed, []byte("${")) {
		return &node{raw: domain.Value(trimmed)}, nil
	}
	switch trimmed[0] {
	case '"':
		return c.textNode(trimmed, env)
	case '[':
		var items []json.RawMessage
		if err := json.Unmarshal(trimmed, &items); err != nil {
			return nil, err
		}
		n := &node{list: []*node{}}
		for i, it := range items {
			child, err := c.template(it, env)
			if err != nil {
				return nil, fmt.Errorf("[%d]: %w", i, err)
			}
			n.list = append(n.list, child)
		}
		return n, nil
	}
	return c.objectNode(trimmed, env)
}

// objectNode keeps the order of the fields as written.
func (c *Compiler) objectNode(raw []byte, env domain.Env) (*node, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	if _, err := dec.Token(); err != nil {
		return nil, err
	}
	n := &node{}
	for dec.More() {
		tok, err := dec.Token()
		if err != nil {
			return nil, err
		}
		key, ok := tok.(string)
		if !ok {
			return nil, errors.New("a field name is wanted")
		}
		var v json.RawMessage
		if err := dec.Decode(&v); err != nil {
			return nil, err
		}
		child, err := c.template(v, env)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		n.keys, n.fields = append(n.keys, key), append(n.fields, child)
	}
	return n, nil
}

func (c *Compiler) textNode(raw []byte, env domain.Env) (*node, error) {
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		return nil, err
	}
	parts, err := split(s)
	if err != nil {
		return nil, err
	}
	n := &node{}
	holes := false
	for _, p := range parts {
		if !p.hole {
			n.text = append(n.text, textPart{plain: p.text})
			continue
		}
		holes = true
		x, err := c.compile(p.text, env)
		if err != nil {
			return nil, err
		}
		if len(parts) == 1 {
			return &node{single: x}, nil
		}
		n.text = append(n.text, textPart{expr: x})
	}
	if !holes { // $${ only
		plain := ""
		for _, p := range n.text {
			plain += p.plain
		}
		b, err := marshal(plain)
		return &node{raw: b}, err
	}
	return n, nil
}

// finish makes an expression of a template that is not a single ${…}.
func (n *node) finish(raw json.RawMessage) domain.Expression {
	t := &template{text: string(raw), root: n}
	n.each(func(x *expression) {
		for _, s := range x.steps {
			t.steps = add(t.steps, s)
		}
		for _, s := range x.inputs {
			t.inputs = add(t.inputs, s)
		}
		t.tainted = t.tainted || x.tainted
		t.tolerant = t.tolerant || x.tolerant
	})
	return t
}

func (n *node) each(f func(*expression)) {
	if n.single != nil {
		f(n.single)
	}
	for _, p := range n.text {
		if p.expr != nil {
			f(p.expr)
		}
	}
	for _, c := range n.list {
		c.each(f)
	}
	for _, c := range n.fields {
		c.each(f)
	}
}

// template is a value with expressions inside.
type template struct {
	text     string
	root     *node
	steps    []string
	inputs   []string
	tainted  bool
	tolerant bool
}

func (t *template) Text() string                  { return t.text }
func (t *template) Literal() (domain.Value, bool) { return t.root.raw, t.root.raw != nil }
func (t *template) Ref() (domain.Ref, bool)       { return domain.Ref{}, false }
func (t *template) Steps() []string               { return t.steps }
func (t *template) Inputs() []string              { return t.inputs }
func (t *template) Tainted() bool                 { return t.tainted }
func (t *template) Tolerant() bool                { return t.tolerant }

// Eval fills the template in.
func (t *template) Eval(sc *domain.Scope) (domain.Value, error) {
	var b bytes.Buffer
	if err := t.root.write(&b, sc); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func (n *node) write(b *bytes.Buffer, sc *domain.Scope) error {
	switch {
	case n.raw != nil:
		b.Write(n.raw)
	case n.single != nil:
		v, err := n.single.Eval(sc)
		b.Write(v)
		return err
	case n.text != nil:
		return n.writeText(b, sc)
	case n.list != nil:
		for i, c := range n.list {
			b.WriteByte("[,"[min(i, 1)])
			if err := c.write(b, sc); err != nil {
				return err
			}
		}
		b.WriteByte(']')
	default:
		for i, c := range n.fields {
			b.WriteByte("{,"[min(i, 1)])
			key, err := marshal(n.keys[i])
			if err != nil {
				return err
			}
			b.Write(key)
			b.WriteByte(':')
			if err := c.write(b, sc); err != nil {
				return err
			}
		}
		b.WriteByte('}')
	}
	return nil
}

// writeText joins texts; a value that is no string shows as its JSON.
func (n *node) writeText(b *bytes.Buffer, sc *domain.Scope) error {
	var s strings.Builder
	for _, p := range n.text {
		if p.expr == nil {
			s.WriteString(p.plain)
			continue
		}
		v, err := p.expr.Eval(sc)
		if err != nil {
			return err
		}
		var str string
		if len(v) > 0 && v[0] == '"' && json.Unmarshal(v, &str) == nil {
			s.WriteString(str)
		} else {
			s.Write(v)
		}
	}
	out, err := marshal(s.String())
	b.Write(out)
	return err
}

// marshal is JSON without escaping of <, > and &.
func marshal(v any) (domain.Value, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimRight(b.Bytes(), "\n"), nil
}
