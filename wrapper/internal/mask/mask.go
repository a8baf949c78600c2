// Package mask hides secrets in everything that leaves: the value itself and its base64, URL and
// JSON forms.
package mask

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"sort"
	"strings"
)

// Shown stands where a secret was.
const Shown = "•••"

// shortest is the length below which a value is too common to be masked without harm.
const shortest = 4

// Masker replaces secrets. The zero value hides nothing. Safe for concurrent use.
type Masker struct {
	forms    []string
	exact    map[string]bool
	replacer *strings.Replacer
	short    int
}

// New makes a Masker for the given secrets.
func New(secrets [][]byte) *Masker {
	seen := map[string]bool{}
	add := func(s string) {
		if len(s) >= shortest {
			seen[s] = true
		}
	}
	for _, s := range secrets {
		text := string(s)
		add(text)
		for _, line := range strings.Split(text, "\n") {
			add(strings.TrimSpace(line))
		}
		// A secret inside longer text shifts its base64 form: the middle of all three shifts is hidden.
		for shift := range 3 {
			padded := append(bytes.Repeat([]byte{'x'}, shift), s...)
			for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
				e := enc.EncodeToString(padded)
				if shift == 0 {
					add(e)
				}
				from, to := (shift*8+5)/6, len(padded)*8/6
				if to-from >= 8 && to <= len(e) {
					add(e[from:to])
				}
			}
		}
		add(url.QueryEscape(text))
		add(url.PathEscape(text))
		add(hex.EncodeToString(s))
		if j, err := json.Marshal(text); err == nil {
			add(string(j[1 : len(j)-1]))
		}
	}
	m := &Masker{exact: seen}
	for _, s := range secrets {
		if len(s) > 0 && len(s) < shortest {
			m.short++
		}
	}
	for s := range seen {
		m.forms = append(m.forms, s)
	}
	if len(m.forms) == 0 {
		return m
	}
	// Longest first: a secret that holds another one is hidden whole.
	sort.Slice(m.forms, func(i, j int) bool { return len(m.forms[i]) > len(m.forms[j]) })
	var pairs []string
	for _, f := range m.forms {
		pairs = append(pairs, f, Shown)
	}
	m.replacer = strings.NewReplacer(pairs...)
	return m
}

// String hides secrets in s.
func (m *Masker) String(s string) string {
	if m == nil || m.replacer == nil || s == "" {
		return s
	}
	return m.replacer.Replace(s)
}

// JSON hides secrets in JSON text, which stays JSON: inside strings (names too) wherever they occur,
// and a number that is a secret becomes a string. Digits inside a longer number are left alone.
func (m *Masker) JSON(b []byte) []byte {
	if m == nil || m.replacer == nil {
		return b
	}
	found := false
	for _, f := range m.forms {
		found = found || bytes.Contains(b, []byte(f))
	}
	if !found {
		return b
	}
	out := make([]byte, 0, len(b))
	for i := 0; i < len(b); {
		n := 1
		switch c := b[i]; {
		case c == '"':
			for i+n < len(b) && b[i+n] != '"' {
				if b[i+n] == '\\' {
					n++
				}
				n++
			}
			n = min(n+1, len(b)-i)
			// The escaped form of a secret is among the forms; no form holds a quote of the text itself.
			out = append(out, m.replacer.Replace(string(b[i:i+n]))...)
		case c == '-' || (c >= '0' && c <= '9'):
			for i+n < len(b) && strings.IndexByte("0123456789.eE+-", b[i+n]) >= 0 {
				n++
			}
			if number := b[i : i+n]; m.exact[string(number)] {
				out = append(append(append(out, '"'), Shown...), '"')
			} else {
				out = append(out, number...)
			}
		default:
			out = append(out, c)
		}
		i += n
	}
	return out
}

// Active tells whether there is anything to hide.
func (m *Masker) Active() bool { return m != nil && m.replacer != nil }

// Short is how many secrets are too short to be hidden: every third word would be gone.
func (m *Masker) Short() int {
	if m == nil {
		return 0
	}
	return m.short
}
