package action

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pelton-run/pelton/functions/formats/action"
	"github.com/pelton-run/pelton/functions/formats/problem"
	"github.com/pelton-run/pelton/platform/cli/factory"
	"github.com/pelton-run/pelton/platform/cli/localrun"
)

// CheckOptions of `pelton action check`.
type CheckOptions struct {
	*factory.Factory
	Dirs []string
}

// NewCmdCheck makes the command; runF replaces its work in tests.
func NewCmdCheck(f *factory.Factory, runF func(context.Context, *CheckOptions) error) *cobra.Command {
	o := &CheckOptions{Factory: f}
	return &cobra.Command{
		Use: "check [DIR…]", Short: "Tell what a scan would say, without a server",
		Example: "  pelton action check\n  pelton action check actions/greet -o json",
		Long: `Checks the actions in the given folders (default: the current one) and below them: metadata,
handler, signature, syntax, logo. Every error is told at once, with file and line.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.Dirs = args; len(args) == 0 {
				o.Dirs = []string{"."}
			}
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return check(cmd.Context(), o)
		},
	}
}

func check(ctx context.Context, o *CheckOptions) error {
	errs, checked := 0, 0
	found := problem.List{}
	for _, root := range o.Dirs {
		dirs, err := localrun.Dirs(root)
		if err != nil {
			return err
		}
		for _, dir := range dirs {
			abs, err := filepath.Abs(dir)
			if err != nil {
				return err
			}
			// The id defaults to the folder's own name, which "." is not.
			a, problems := action.Load(os.DirFS(abs), ".", filepath.Base(abs))
			for i, p := range problems {
				problems[i].File = filepath.Join(dir, strings.TrimPrefix(p.File, filepath.Base(abs)))
			}
			problems = append(problems, syntax(ctx, dir, a)...)
			checked++
			found = append(found, problems...)
		}
	}
	for _, p := range found {
		if !p.Warning {
			errs++
		}
		if o.Output == "table" {
			text := p.Error()
			if p.Warning {
				text = "warning: " + text
			}
			fmt.Fprintln(o.Out, text)
		}
	}
	if o.Output == "json" || o.Output == "yaml" {
		raw, err := json.Marshal(map[string]any{"checked": checked, "problems": found})
		if err != nil {
			return err
		}
		if err := o.Print(raw, nil, nil); err != nil {
			return err
		}
	}
	if errs > 0 {
		return fmt.Errorf("%s in %s: %w", factory.Count(errs, "error"), factory.Count(checked, "action"), factory.ErrSilent)
	}
	if o.Output == "table" {
		fmt.Fprintf(o.Out, "%d checked, no errors\n", checked)
	}
	return nil
}

// pythonSyntax parses a file without running it and prints line, column and message of its error.
const pythonSyntax = `import ast, sys
try:
    ast.parse(open(sys.argv[1], "rb").read(), sys.argv[1])
except SyntaxError as e:
    print(e.lineno or 0, e.offset or 0, e.msg, sep="\t")
except ValueError as e:
    print(0, 0, e, sep="\t")
`

// syntax has the language itself parse the handler. A language that is not installed here is
// told as a warning: its scan happens where it is.
func syntax(ctx context.Context, dir string, a action.Action) problem.List {
	if a.Handler == "" || a.Runtime != "python3" {
		return nil
	}
	file := filepath.Join(dir, a.Handler)
	python, err := exec.LookPath("python3")
	if err != nil {
		return problem.List{{File: file, Message: "its syntax is not checked: there is no python3 here", Warning: true}}
	}
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, python, "-I", "-c", pythonSyntax, file)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return problem.List{{File: file, Message: "its syntax is not checked: " + strings.TrimSpace(stderr.String()), Warning: true}}
	}
	parts := strings.SplitN(strings.TrimSpace(string(out)), "\t", 3)
	if len(parts) < 3 {
		return nil
	}
	line, _ := strconv.Atoi(parts[0]) // both are numbers that Python printed
	column, _ := strconv.Atoi(parts[1])
	return problem.List{{File: file, Line: line, Column: column, Message: "SyntaxError: " + parts[2]}}
}
