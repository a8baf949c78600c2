package project

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/pelton-run/pelton/functions/formats/doc"
	"github.com/pelton-run/pelton/platform/cli/factory"
)

// RetentionOptions of `pelton project retention`.
type RetentionOptions struct {
	*factory.Factory
	Keep string // "" = only show it
}

// NewCmdRetention makes the command; runF replaces its work in tests.
func NewCmdRetention(f *factory.Factory, runF func(context.Context, *RetentionOptions) error) *cobra.Command {
	o := &RetentionOptions{Factory: f}
	cmd := &cobra.Command{
		Use: "retention [DURATION|default]", Short: "Show or set how long ended runs are kept", Args: factory.AtMostOne,
		Long: `Tells how long ended runs of the project are kept, counted from their end, or sets it. What has expired is
removed with its inputs and outputs, its steps and its logs. A project may keep its runs for less than the server,
and a workflow, by its ` + "`retention:`" + `, for less than its project. default is as long as the server says.`,
		Example: "  pelton project retention\n  pelton project retention 30d\n  pelton project retention default",
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.Keep = ""; len(args) > 0 {
				o.Keep = args[0]
			}
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			if o.Keep != "" {
				return putRetention(cmd.Context(), o)
			}
			return showRetention(cmd.Context(), o.Factory)
		},
	}
	f.AddProject(cmd)
	return cmd
}

func putRetention(ctx context.Context, o *RetentionOptions) error {
	var keep time.Duration
	if o.Keep != "default" {
		d, ok := doc.ParseDuration(o.Keep)
		if !ok {
			return factory.Usage("%s is no duration: write 30d, 12h, or default", o.Keep)
		}
		keep = d
	}
	c, err := o.Client(ctx)
	if err != nil {
		return err
	}
	if _, err := c.JSON(ctx, "PUT", c.Path("runner", "retention"), map[string]int64{"project_ms": keep.Milliseconds()}, nil); err != nil {
		return err
	}
	return showRetention(ctx, o.Factory)
}

func showRetention(ctx context.Context, f *factory.Factory) error {
	c, err := f.Client(ctx)
	if err != nil {
		return err
	}
	var r struct {
		Server    int64            `json:"server_ms"`
		Project   int64            `json:"project_ms"`
		Workflows map[string]int64 `json:"workflows_ms"`
	}
	raw, err := c.Get(ctx, c.Path("runner", "retention"), &r)
	if err != nil {
		return err
	}
	rows := [][]string{{"server", kept(r.Server, "for ever")}, {"project " + c.Project, kept(r.Project, "as the server")}}
	names := make([]string, 0, len(r.Workflows))
	for name := range r.Workflows {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		rows = append(rows, []string{"workflow " + name, kept(r.Workflows[name], "")})
	}
	return f.Print(raw, nil, func(w io.Writer) {
		factory.Table(w, "", []string{"OF", "ENDED RUNS ARE KEPT"}, rows)
		fmt.Fprintln(w, "the shortest counts")
	})
}

// kept is a time of milliseconds in words.
func kept(ms int64, none string) string {
	switch d, day := time.Duration(ms)*time.Millisecond, 24*time.Hour; {
	case ms == 0:
		return none
	case d%day == 0:
		return strconv.FormatInt(int64(d/day), 10) + "d"
	default:
		return d.String()
	}
}
