// Command gotest runs `go test` with the given arguments and prints what go test does. At the end it
// says once more how each failed test's words began, which a long log hides, and which tests were
// skipped for which reason: nothing is skipped silently. Its exit code is that of go test.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path"
	"regexp"
	"slices"
	"strings"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, out, errs io.Writer) int {
	cmd := exec.Command("go", append([]string{"test", "-json"}, args...)...)
	cmd.Stdin, cmd.Stderr = os.Stdin, errs
	events, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		fmt.Fprintln(errs, "gotest:", err)
		return 1
	}
	r := report(events, out)
	err = cmd.Wait()
	r.summary(out)
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		return exit.ExitCode()
	case err != nil:
		fmt.Fprintln(errs, "gotest:", err)
		return 1
	}
	return 0
}

type event struct{ Action, Package, Test, Output string }

// results are what is told at the end.
type results struct {
	failed  []string            // tests, each with the beginning of what it said
	skipped map[string][]string // tests by reason
}

// summary prints the results.
func (r results) summary(out io.Writer) {
	for _, s := range r.failed {
		fmt.Fprintln(out, "failed:", s)
	}
	n := 0
	for _, why := range slices.Sorted(maps.Keys(r.skipped)) {
		fmt.Fprintf(out, "skipped, %s: %s\n", why, strings.Join(r.skipped[why], ", "))
		n += len(r.skipped[why])
	}
	fmt.Fprintln(out, "tests skipped:", n)
}

// report prints the lines of packages, and what tests printed that failed, as go test without -v
// does.
func report(events io.Reader, out io.Writer) results {
	r := results{skipped: map[string][]string{}}
	printed := map[string][]string{} // by package and test
	lines := bufio.NewReader(events)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) != nil || e.Action == "" {
				_, _ = out.Write(line) // not of a test: a build that failed
				continue
			}
			key := e.Package + " " + e.Test
			switch {
			case e.Test == "" && (e.Action == "output" || e.Action == "build-output"):
				if e.Output != "PASS\n" && !strings.HasPrefix(e.Output, "=== ") {
					fmt.Fprint(out, e.Output)
				}
			case e.Action == "output":
				printed[key] = append(printed[key], e.Output)
			case e.Action == "fail" && e.Test != "":
				fmt.Fprint(out, strings.Join(printed[key], ""))
				if said := words(printed[key]); len(said) > 0 {
					r.failed = append(r.failed, key+"\n    "+strings.Join(said[:min(len(said), beginning)], "\n    "))
				}
				delete(printed, key)
			case e.Action == "skip" && e.Test != "":
				why := place.ReplaceAllString(strings.Join(words(printed[key]), " "), "")
				r.skipped[why] = append(r.skipped[why], path.Base(e.Package)+"."+e.Test)
				delete(printed, key)
			case e.Action == "pass":
				delete(printed, key)
			}
		}
		if err != nil {
			return r
		}
	}
}

// beginning is how many lines of a failed test are told again.
const beginning = 12

// place is where in the source a test said something.
var place = regexp.MustCompile(`^\S+\.go:\d+: *`)

// words are what a test said beside the frame of go test.
func words(lines []string) (out []string) {
	for _, s := range lines {
		s = strings.TrimSpace(s)
		if s != "" && !strings.HasPrefix(s, "=== ") && !strings.HasPrefix(s, "--- ") {
			out = append(out, s)
		}
	}
	return out
}
