package frame

import (
	"bytes"
	"encoding/json"
)

var resultHead = []byte(`{"t":"result",`)

// result reads the message that ends nearly every execution, as the shims write it: compact, of known
// members, names in plain ASCII. False is for all others, which encoding/json reads; it takes four times as
// long. What it makes of a message is the same.
func result(b []byte) (*Message, bool) {
	if !bytes.HasPrefix(b, resultHead) {
		return nil, false
	}
	s := scanner{b: append([]byte(nil), b...), at: len(resultHead)} // raw values point into the copy
	m := &Message{T: "result"}
	for {
		name, ok := s.name()
		if !ok {
			return nil, false
		}
		switch string(name) {
		case "id":
			m.ID, ok = s.text()
		case "v":
			m.Values, ok = s.values()
		case "list":
			m.List, ok = s.truth()
		case "q":
			m.Took, ok = s.truth()
		case "cpu_us":
			m.CPUMicros, ok = s.number()
		case "rss_kb":
			m.RSSKiB, ok = s.number()
		case "us":
			m.Micros, ok = s.number()
		default:
			ok = false
		}
		switch {
		case !ok:
			return nil, false
		case s.take(','):
		default:
			return m, s.take('}') && s.at == len(s.b)
		}
	}
}

// scanner reads compact JSON. Its methods tell whether what they are for was there.
type scanner struct {
	b  []byte
	at int
}

func (s *scanner) take(c byte) bool {
	if s.at < len(s.b) && s.b[s.at] == c {
		s.at++
		return true
	}
	return false
}

// plain is a string of printable ASCII without escapes.
func (s *scanner) plain() ([]byte, bool) {
	if !s.take('"') {
		return nil, false
	}
	for from := s.at; s.at < len(s.b); s.at++ {
		switch c := s.b[s.at]; {
		case c == '"':
			s.at++
			return s.b[from : s.at-1], true
		case c < ' ' || c > '~' || c == '\\':
			return nil, false
		}
	}
	return nil, false
}

func (s *scanner) name() ([]byte, bool) {
	name, ok := s.plain()
	return name, ok && s.take(':')
}

func (s *scanner) text() (string, bool) {
	text, ok := s.plain()
	return string(text), ok
}

func (s *scanner) truth() (value, ok bool) {
	for _, word := range []string{"true", "false"} {
		if bytes.HasPrefix(s.b[s.at:], []byte(word)) {
			s.at += len(word)
			return word == "true", true
		}
	}
	return false, false
}

// number is one of at most 18 digits.
func (s *scanner) number() (n int64, ok bool) {
	from := s.at
	for ; s.at < len(s.b) && s.b[s.at] >= '0' && s.b[s.at] <= '9'; s.at++ {
		n = 10*n + int64(s.b[s.at]-'0')
	}
	digits := s.at - from
	return n, digits > 0 && digits <= 18 && (digits == 1 || s.b[from] != '0')
}

func (s *scanner) values() ([]map[string]json.RawMessage, bool) {
	all := []map[string]json.RawMessage{}
	if !s.take('[') {
		return nil, false
	}
	if s.take(']') {
		return all, true
	}
	for {
		one, ok := s.set()
		if !ok {
			return nil, false
		}
		all = append(all, one)
		if !s.take(',') {
			return all, s.take(']')
		}
	}
}

func (s *scanner) set() (map[string]json.RawMessage, bool) {
	if !s.take('{') {
		return nil, false
	}
	set := map[string]json.RawMessage{}
	if s.take('}') {
		return set, true
	}
	for {
		name, ok := s.name()
		if !ok {
			return nil, false
		}
		raw, ok := s.raw()
		if !ok {
			return nil, false
		}
		set[string(name)] = raw
		if !s.take(',') {
			return set, s.take('}')
		}
	}
}

// raw is any value, up to the comma or bracket after it.
func (s *scanner) raw() (json.RawMessage, bool) {
	from, depth := s.at, 0
	for ; s.at < len(s.b); s.at++ {
		switch s.b[s.at] {
		case '"':
			for s.at++; s.at < len(s.b) && s.b[s.at] != '"'; s.at++ {
				if s.b[s.at] == '\\' {
					s.at++
				}
			}
		case '{', '[':
			depth++
		case '}', ']', ',':
			if depth == 0 {
				raw := s.b[from:s.at:s.at]
				return raw, json.Valid(raw) && raw[0] > ' ' && raw[len(raw)-1] > ' '
			}
			if s.b[s.at] != ',' {
				depth--
			}
		}
	}
	return nil, false
}
