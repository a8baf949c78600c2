package suite

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/pelton-run/pelton/platform/cli/factory"
	"github.com/pelton-run/pelton/platform/cli/localrun"
)

// Options of `pelton test`.
type Options struct {
	*factory.Factory
	Dir      string
	Pattern  string
	Name     *regexp.Regexp
	File     string // of the JUnit report
	Parallel int
	Timeout  time.Duration // of the builds that tests of workflows wait for
}

// NewCmd makes the command; runF replaces its work in tests.
func NewCmd(f *factory.Factory, runF func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Factory: f}
	cmd := &cobra.Command{
		Use: "test [DIR]", Short: "Run the tests of all actions and workflows of a workspace",
		Long: `Builds every action at or below DIR (default: the current folder) that has tests in its metadata,
and runs them without a server: actions at the same time, the tests of one action one after the
other.

Then it runs every tests/*.yaml of kind WorkflowTest, on the running server of the home or on one
that is started for it and stopped at the end. DIR's actions are built there; its workflows are
neither saved nor deployed. A test carries out one run with the real engine: stubs answer where it
has them, everything else is the real action, and all waiting is skipped over. A step with the
effect write or irreversible needs a stub. The project's variables and secrets are not read.

What is not as expected is told with its place in the test; a table tells each test's result. The
exit code is 1 when one failed or could not run.`,
		Example: "  pelton test\n  pelton test actions --run '^resize/' --junit report.xml\n  pelton test --run '^weather-report/'",
		Args:    factory.AtMostOne,
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.Dir = "."; len(args) == 1 {
				o.Dir = args[0]
			}
			if o.Parallel < 0 {
				return factory.Usage("--parallel %d is negative", o.Parallel)
			}
			if o.Parallel == 0 {
				o.Parallel = runtime.NumCPU()
			}
			if o.Pattern != "" {
				var err error
				if o.Name, err = regexp.Compile(o.Pattern); err != nil {
					return factory.Usage("--run %q is no regular expression: %v", o.Pattern, err)
				}
			}
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return test(cmd.Context(), o)
		},
	}
	f.AddProject(cmd)
	cmd.Flags().StringVar(&o.Home, "home", "", "folder of the server's data (default: $PELTON_HOME, or .pelton)")
	cmd.Flags().DurationVar(&o.Timeout, "timeout", 10*time.Minute, "wait at most this long for the builds of the actions that workflows use")
	cmd.Flags().StringVar(&o.Pattern, "run", "", "only tests whose ACTION/TEST or WORKFLOW/TEST matches this regular expression")
	cmd.Flags().StringVar(&o.File, "junit", "", "also write the results to this file as JUnit XML")
	cmd.Flags().IntVar(&o.Parallel, "parallel", 0, "run this many at the same time (default: as many as there are processors)")
	return cmd
}

func test(ctx context.Context, o *Options) error {
	dirs, err := localrun.Dirs(o.Dir)
	var usage *factory.UsageError
	if errors.As(err, &usage) && hasTests(o.Dir) {
		err = nil // a workspace of workflows alone
	}
	if err != nil {
		return err
	}
	flows, err := workflowTests(o.Dir, o.Name)
	if err != nil {
		return err
	}
	p := &progress{out: o.Err}
	var orders []Order
	without := 0
	for _, dir := range dirs {
		order := Order{Dir: dir, Name: o.Name}
		id, names := order.Tests()
		if len(names) == 0 {
			without++
			continue
		}
		order.Log = func(line string) { p.say("  [%s] %s", id, line) }
		orders = append(orders, order)
	}
	if len(orders) == 0 && len(flows) == 0 && o.Name != nil {
		return fmt.Errorf("--run %s matches no test in %s", o.Pattern, factory.Count(len(dirs), "action"))
	}
	results, err := Run(ctx, orders, o.Parallel, p.ended)
	if err != nil {
		return err
	}
	if len(flows) > 0 {
		more, err := runWorkflows(ctx, o, flows, p)
		if err != nil {
			return err
		}
		results = append(results, more...)
	}
	if o.File != "" {
		if err := report(o.File, results); err != nil {
			return err
		}
	}
	return tell(o, results, without)
}

// report writes the file whole: a build server never reads half of it.
func report(file string, results []Result) error {
	var b bytes.Buffer
	if err := JUnit(&b, results); err != nil {
		return err
	}
	if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
		return fmt.Errorf("write the JUnit report: %w", err)
	}
	return nil
}

func tell(o *Options, results []Result, without int) error {
	counts := map[string]int{}
	names, rows := []string{}, [][]string{}
	for _, r := range results {
		counts[r.State]++
		names = append(names, r.Subject()+"/"+r.Test)
		first, _, _ := strings.Cut(r.Message, "\n")
		rows = append(rows, []string{r.Subject(), r.Test, r.State, strconv.FormatInt(r.Millis, 10), first})
	}
	if results == nil {
		results = []Result{}
	}
	raw, err := json.Marshal(map[string]any{"items": results, "passed": counts[Passed], "failed": counts[Failed], "errors": counts[Broken]})
	if err != nil {
		return err
	}
	if err := o.Print(raw, names, func(w io.Writer) {
		factory.Table(w, "No tests: add tests: to an action.yaml, or tests/NAME.yaml of kind WorkflowTest.", []string{"SUBJECT", "TEST", "STATE", "MS", "MESSAGE"}, rows)
	}); err != nil {
		return err
	}
	bad := counts[Failed] + counts[Broken]
	summary := fmt.Sprintf("%d passed, %d failed", counts[Passed], bad)
	if without > 0 && o.Name == nil {
		summary += fmt.Sprintf("; without a test: %s", factory.Count(without, "action"))
	}
	if bad > 0 {
		return fmt.Errorf("%s: %w", summary, factory.ErrSilent)
	}
	fmt.Fprintln(o.Err, summary)
	return nil
}

// progress prints whole lines from several goroutines.
type progress struct {
	mu  sync.Mutex
	out io.Writer
}

func (p *progress) say(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.out, format+"\n", args...)
}

// ended tells tests as soon as they have run, and whole what went wrong.
func (p *progress) ended(results []Result) {
	for _, r := range results {
		if r.State == Passed {
			p.say("ok    %s: %s", r.Subject(), r.Test)
			continue
		}
		p.say("FAIL  %s: %s\n      %s", r.Subject(), r.Test, strings.ReplaceAll(r.Message, "\n", "\n      "))
	}
}
