package host

import (
	"encoding/json"
	"strconv"
)

// message writes the JSON of a start by hand: it is made for every execution.
type message struct{ b []byte }

func (m *message) text(s string) *message  { m.b = append(m.b, s...); return m }
func (m *message) raw(s []byte) *message   { m.b = append(m.b, s...); return m }
func (m *message) number(n int64) *message { m.b = strconv.AppendInt(m.b, n, 10); return m }

func (m *message) quoted(s string) *message {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c > '~' {
			text, _ := json.Marshal(s) // a string has JSON always
			m.b = append(m.b, text...)
			return m
		}
	}
	m.b = append(append(append(m.b, '"'), s...), '"')
	return m
}
