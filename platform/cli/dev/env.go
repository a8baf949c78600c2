package dev

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// envFile is the file of a workspace's secrets.
const envFile = ".env"

// pair is one KEY=VALUE. Its value is never printed, and neither is a line that is none: it may
// hold a secret that was pasted into the wrong place.
type pair struct {
	key, value string
	line       int
}

// secretName is what the runner takes as the name of a secret.
var secretName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_]{0,127}$`)

// parseEnv reads KEY=VALUE lines: blank lines and # comments are left out, `export` is allowed, a
// value may stand in 'single' quotes (as it is) or "double" ones (with \n \r \t \" \\). All
// problems at once, each with its line.
func parseEnv(text []byte) ([]pair, []string) {
	var pairs []pair
	var problems []string
	at := map[string]int{}
	text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))
	for i, line := range strings.Split(string(text), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		p, err := parsePair(line)
		p.line = i + 1
		switch {
		case err != nil:
			problems = append(problems, fmt.Sprintf("line %d: %v", p.line, err))
		case at[p.key] != 0:
			problems = append(problems, fmt.Sprintf("line %d: %s is in line %d already: delete one of them", p.line, p.key, at[p.key]))
		default:
			at[p.key] = p.line
			pairs = append(pairs, p)
		}
	}
	return pairs, problems
}

func parsePair(line string) (pair, error) {
	if rest, ok := strings.CutPrefix(line, "export "); ok {
		line = strings.TrimSpace(rest)
	}
	key, rest, ok := strings.Cut(line, "=")
	if !ok {
		return pair{}, errors.New("is no KEY=VALUE: write the name, =, and the value")
	}
	key = strings.TrimSpace(key)
	if !secretName.MatchString(key) {
		return pair{}, errors.New("what stands before = cannot be the name of a secret: use letters, digits and _, starting with a letter, at most 128")
	}
	value, err := parseValue(strings.TrimSpace(rest))
	if err == nil && value == "" {
		err = errors.New("is empty: give a value, or delete the line")
	}
	if err != nil {
		return pair{}, fmt.Errorf("%s: %w", key, err)
	}
	return pair{key: key, value: value}, nil
}

func parseValue(s string) (string, error) {
	if s == "" || s[0] != '\'' && s[0] != '"' {
		if s != "" && s[0] == '#' {
			return "", nil
		}
		if i := strings.Index(strings.ReplaceAll(s, "\t#", " #"), " #"); i >= 0 {
			s = s[:i]
		}
		return strings.TrimSpace(s), nil
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == s[0]:
			if rest := strings.TrimSpace(s[i+1:]); rest != "" && rest[0] != '#' {
				return "", errors.New("something follows the closing quote: put all of the value between the quotes")
			}
			return b.String(), nil
		case s[i] == '\\' && s[0] == '"' && i+1 < len(s):
			i++
			if at := strings.IndexByte(`nrt"\`, s[i]); at >= 0 {
				b.WriteByte("\n\r\t\"\\"[at])
			} else {
				b.WriteByte('\\')
				b.WriteByte(s[i])
			}
		default:
			b.WriteByte(s[i])
		}
	}
	return "", errors.New("the quote is not closed in its line: close it, and write line breaks as \\n between double quotes")
}

// secrets keeps a project's secrets as the file has them. Used by one goroutine.
type secrets struct {
	file    string
	project string
	client  client
	printer *printer
	set     map[string]string // by this session
	warned  bool
}

// load reads the file and sets what is new in it. A file that has errors changes nothing.
func (s *secrets) load(ctx context.Context) {
	text, err := os.ReadFile(s.file)
	if errors.Is(err, fs.ErrNotExist) {
		text, err = nil, nil
		if len(s.set) == 0 {
			return
		}
	}
	if err != nil {
		s.printer.say("error", "31", err.Error(), "")
		return
	}
	s.warn(ctx)
	pairs, problems := parseEnv(text)
	if len(problems) > 0 {
		for _, p := range problems {
			s.printer.say("error", "31", envFile+": "+p, "")
		}
		s.printer.say("", "2", "no secret was changed", "")
		return
	}
	var names []string
	still := map[string]bool{}
	for _, p := range pairs {
		still[p.key] = true
		if old, ok := s.set[p.key]; ok && old == p.value {
			continue
		}
		path := "/runner/v1/projects/" + url.PathEscape(s.project) + "/secrets/" + url.PathEscape(p.key)
		if err := s.client.json(ctx, http.MethodPut, path, map[string]string{"value": p.value}, nil); err != nil {
			s.printer.say("error", "31", fmt.Sprintf("%s: line %d: %s is not set: %v", envFile, p.line, p.key, err), "")
			continue
		}
		s.set[p.key] = p.value
		names = append(names, p.key)
	}
	if len(names) > 0 {
		s.printer.say("secrets", "36", strings.Join(names, ", "), "from "+envFile)
	}
	for name := range s.set {
		if !still[name] {
			delete(s.set, name)
			s.printer.say("secrets", "36", name+" is no longer in "+envFile+" and stays set", "pelton secret delete "+name)
		}
	}
}

// warn tells once that the file would go into the repository.
func (s *secrets) warn(ctx context.Context) {
	if s.warned {
		return
	}
	s.warned = true
	cmd := exec.CommandContext(ctx, "git", "-C", filepath.Dir(s.file), "check-ignore", "--quiet", envFile)
	var exit *exec.ExitError
	if err := cmd.Run(); errors.As(err, &exit) && exit.ExitCode() == 1 { // 128: no repository
		s.printer.say("warning", "33", envFile+" is not ignored by git: add it to .gitignore, or its values get into the repository", "")
	}
}
