package run

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pelton-run/pelton/platform/cli/factory"
	"github.com/pelton-run/pelton/platform/sdk"
)

// StartOptions of `pelton run start`.
type StartOptions struct {
	*factory.Factory
	Workflow string
	Inputs   []string // name=value, name=@file
	JSON     string   // a JSON object or @file
	Key      string
	Wait     bool
	Timeout  time.Duration
}

// NewCmdStart makes the command; runF replaces its work in tests.
func NewCmdStart(f *factory.Factory, runF func(context.Context, *StartOptions) error) *cobra.Command {
	o := &StartOptions{Factory: f}
	cmd := &cobra.Command{
		Use: "start WORKFLOW", Short: "Start a run of a deployed workflow",
		Long: `Starts a run of a deployed workflow.

An input is given as name=value, or as name=@FILE to upload a file. A value that reads as JSON
(a number, true, false, null, a list, an object, a "quoted" text) is taken as that, anything
else as text: write code='"0123"' for the text of digits.`,
		Example: "  pelton run start hello -i name=Ada --wait\n  pelton run start weather-report -i data=@seattle.csv -i city=Seattle",
		Args:    factory.ExactArgs("WORKFLOW"),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Workflow = args[0]
			if o.Timeout < 0 {
				return factory.Usage("--timeout %s is negative", o.Timeout)
			}
			if cmd.Flags().Changed("timeout") && !o.Wait {
				return factory.Usage("--timeout bounds the waiting: it needs --wait")
			}
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return start(cmd.Context(), o)
		},
	}
	cmd.Flags().StringArrayVarP(&o.Inputs, "input", "i", nil, "an input: name=value or name=@FILE (repeatable)")
	cmd.Flags().StringVar(&o.JSON, "inputs", "", "all inputs as a JSON object, or @FILE that holds one")
	cmd.Flags().StringVar(&o.Key, "idempotency-key", "", "the same key starts no second run")
	cmd.Flags().BoolVar(&o.Wait, "wait", false, "wait until it has ended; exit code 0 completed, 1 failed, 8 still running")
	cmd.Flags().DurationVar(&o.Timeout, "timeout", 0, "with --wait: wait at most this long (default: without end)")
	return cmd
}

func start(ctx context.Context, o *StartOptions) error {
	c, err := o.Client(ctx)
	if err != nil {
		return err
	}
	inputs, err := ParseInputs(o.JSON, o.Inputs, func(file string) (json.RawMessage, error) { return Upload(ctx, c, file) })
	if err != nil {
		return err
	}
	body := map[string]any{"workflow": o.Workflow, "inputs": inputs}
	if o.Key != "" {
		body["idempotency_key"] = o.Key
	}
	var r sdk.Run
	raw, err := c.JSON(ctx, "POST", c.Path("runner", "runs"), body, &r)
	if err != nil {
		return err
	}
	if !o.Wait {
		return o.Print(raw, []string{r.ID}, func(w io.Writer) {
			fmt.Fprintf(w, "run %s of %s has started; `pelton run watch %s` follows it\n", r.ID, o.Workflow, r.ID)
		})
	}
	return waitAndShow(ctx, o.Factory, c, r.ID, o.Timeout)
}

// outcome is the error of a run that did not complete.
func outcome(r sdk.Run) error {
	if r.State == "completed" {
		return nil
	}
	return fmt.Errorf("run %s %s: %w", r.ID, r.State, factory.ErrSilent)
}

// ParseInputs makes the inputs of a run from --inputs and -i; -i wins. All problems at once.
func ParseInputs(object string, pairs []string, upload func(file string) (json.RawMessage, error)) (map[string]json.RawMessage, error) {
	inputs := map[string]json.RawMessage{}
	var problems []string
	if object != "" {
		text := []byte(object)
		if file, ok := strings.CutPrefix(object, "@"); ok {
			data, err := os.ReadFile(file)
			if err != nil {
				return nil, factory.Usage("--inputs: %v", err)
			}
			text = data
		}
		if err := json.Unmarshal(text, &inputs); err != nil {
			return nil, factory.Usage("--inputs is no JSON object: %v", err)
		}
	}
	seen := map[string]bool{}
	for _, p := range pairs {
		name, value, ok := strings.Cut(p, "=")
		switch {
		case !ok || name == "":
			problems = append(problems, fmt.Sprintf("-i %q: write name=value, or name=@FILE", p))
			continue
		case seen[name]:
			problems = append(problems, fmt.Sprintf("-i %s is given twice", name))
			continue
		}
		seen[name] = true
		if file, isFile := strings.CutPrefix(value, "@"); isFile {
			ref, err := upload(file)
			if errors.Is(err, os.ErrNotExist) {
				problems = append(problems, fmt.Sprintf("-i %s: there is no file %s", name, file))
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("upload %s: %w", file, err)
			}
			inputs[name] = ref
			continue
		}
		inputs[name] = literal(value)
	}
	if len(problems) > 0 {
		return nil, factory.Usage("%s", strings.Join(problems, "\n"))
	}
	return inputs, nil
}

func literal(value string) json.RawMessage {
	if trimmed := bytes.TrimSpace([]byte(value)); json.Valid(trimmed) {
		return trimmed
	}
	text, _ := json.Marshal(value) // a string always encodes
	return text
}

// Upload stores a file and returns the value that stands for it.
func Upload(ctx context.Context, c *sdk.Client, file string) (json.RawMessage, error) {
	in, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	if info, err := in.Stat(); err != nil {
		return nil, err
	} else if info.IsDir() {
		return nil, factory.Usage("%s is a folder: name a file", file)
	}
	media := mime.TypeByExtension(filepath.Ext(file))
	if media == "" {
		media = "application/octet-stream"
	}
	path := c.Path("runner", "files") + factory.Query("name", filepath.Base(file), "type", media)
	resp, err := c.Do(ctx, "POST", path, media, in)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return io.ReadAll(resp.Body)
}
