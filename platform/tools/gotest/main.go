// Command gotest runs `go test` with the given arguments and prints what go test does, and at the
// end each test that was skipped, with its reason, and their number: nothing is skipped silently.
// Its exit code is that of go test.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
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
	skipped := report(events, out)
	err = cmd.Wait()
	for _, s := range skipped {
		fmt.Fprintln(out, "skipped:", s)
	}
	fmt.Fprintln(out, "tests skipped:", len(skipped))
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

// report prints the lines of packages, and what tests printed that failed, as go test without -v
// does; it returns the tests that were skipped, each with what it printed.
func report(events io.Reader, out io.Writer) (skipped []string) {
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
				delete(printed, key)
			case e.Action == "skip" && e.Test != "":
				skipped = append(skipped, strings.TrimSpace(key+": "+reason(printed[key])))
				delete(printed, key)
			case e.Action == "pass":
				delete(printed, key)
			}
		}
		if err != nil {
			return skipped
		}
	}
}

// reason is what a test said beside the frame of go test.
func reason(lines []string) string {
	lines = slices.DeleteFunc(slices.Clone(lines), func(s string) bool {
		s = strings.TrimSpace(s)
		return s == "" || strings.HasPrefix(s, "=== ") || strings.HasPrefix(s, "--- ")
	})
	for i, s := range lines {
		lines[i] = strings.TrimSpace(s)
	}
	return strings.Join(lines, " ")
}
