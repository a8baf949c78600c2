package expr

import "strings"

// Loop is the name under which CEL knows the root loop. CEL keeps the word loop for itself, so
// Source writes another of the same length instead.
const Loop = "lo_p"

// Source is an expression as CEL reads it, with the same columns.
func Source(text string) string {
	if !strings.Contains(text, "loop") {
		return text
	}
	out := []byte(text)
	for i := 0; i < len(text); {
		if quote := quoted(text[i:]); quote != "" {
			i = past(text, i, quote)
			continue
		}
		if !letter(text[i]) {
			i++
			continue
		}
		end := i
		for end < len(text) && letter(text[end]) {
			end++
		}
		if text[i:end] == "loop" && !selected(text[:i]) {
			copy(out[i:end], Loop)
		}
		i = end
	}
	return string(out)
}

// quoted is the quote that begins a text, "" without one.
func quoted(text string) string {
	for _, q := range []string{`"""`, `'''`, `"`, `'`} {
		if strings.HasPrefix(text, q) {
			return q
		}
	}
	return ""
}

// past is the place behind a quoted text. In raw texts a backslash hides nothing.
func past(text string, from int, quote string) int {
	raw := from > 0 && (text[from-1] == 'r' || text[from-1] == 'R')
	for i := from + len(quote); i < len(text); i++ {
		switch {
		case text[i] == '\\' && !raw:
			i++
		case strings.HasPrefix(text[i:], quote):
			return i + len(quote)
		}
	}
	return len(text)
}

func letter(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// selected tells whether what follows a text is a field: behind a dot, or .?
func selected(before string) bool {
	before = strings.TrimRight(before, " \t\r\n")
	if rest, ok := strings.CutSuffix(before, "?"); ok && strings.HasSuffix(rest, ".") {
		return true
	}
	return strings.HasSuffix(before, ".")
}
