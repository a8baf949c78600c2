// Package action is `pelton action`: the library, builds, and an author's first steps.
package action

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pelton-run/pelton/platform/cli/factory"
	"github.com/pelton-run/pelton/platform/cli/repo"
	"github.com/pelton-run/pelton/platform/sdk"
)

// NewCmd makes the command.
func NewCmd(f *factory.Factory) *cobra.Command {
	cmd := &cobra.Command{Use: "action", Short: "The library of actions, their builds, and new ones"}
	f.AddProject(cmd)
	cmd.AddCommand(NewCmdList(f, nil), NewCmdShow(f, nil), NewCmdBuild(f, nil), NewCmdNew(f, nil), NewCmdCheck(f, nil), NewCmdConvert(f, nil))
	return cmd
}

// Options of the commands on the library.
type Options struct {
	*factory.Factory
	ID string
}

// NewCmdList makes the command; runF replaces its work in tests.
func NewCmdList(f *factory.Factory, runF func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Factory: f}
	return &cobra.Command{
		Use: "list", Short: "List the library", Args: factory.ExactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			c, err := o.Client(cmd.Context())
			if err != nil {
				return err
			}
			var all sdk.List[sdk.Action]
			raw, err := c.Get(cmd.Context(), c.Path("studio", "actions")+factory.Query("limit", "200"), &all)
			if err != nil {
				return err
			}
			var names []string
			var rows [][]string
			for _, a := range all.Items {
				names = append(names, a.ID)
				rows = append(rows, []string{a.ID, a.Version, a.Kind, a.Runtime, a.Title})
			}
			return o.Print(raw, names, func(w io.Writer) {
				factory.Table(w, "The library is empty. Add a repository with `pelton repo add URL|DIR`.", []string{"ACTION", "VERSION", "KIND", "RUNTIME", "TITLE"}, rows)
			})
		},
	}
}

// NewCmdShow makes the command; runF replaces its work in tests.
func NewCmdShow(f *factory.Factory, runF func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Factory: f}
	return &cobra.Command{
		Use: "show ACTION", Short: "Show an action with its inputs and outputs", Args: factory.ExactArgs("ACTION"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.ID = args[0]; runF != nil {
				return runF(cmd.Context(), o)
			}
			c, err := o.Client(cmd.Context())
			if err != nil {
				return err
			}
			var a sdk.Action
			raw, err := c.Get(cmd.Context(), c.Path("studio", "actions", o.ID), &a)
			if err != nil {
				return err
			}
			return o.Print(raw, []string{a.ID}, func(w io.Writer) { describe(w, a) })
		},
	}
}

func describe(w io.Writer, a sdk.Action) {
	fmt.Fprintf(w, "%s@%s  %s in %s", a.ID, a.Version, a.Kind, a.Runtime)
	if a.Title != "" && a.Title != a.ID {
		fmt.Fprintf(w, ": %s", a.Title)
	}
	fmt.Fprintln(w)
	if a.Build != "" {
		fmt.Fprintf(w, "build %s\n", a.Build)
	}
	var rows [][]string
	for kind, items := range [2][]sdk.Item{a.Inputs, a.Outputs} {
		for _, it := range items {
			need := ""
			switch {
			case len(it.Default) > 0 && string(it.Default) != "null":
				need = "default " + string(it.Default)
			case it.Optional:
				need = "optional"
			}
			rows = append(rows, []string{[2]string{"input", "output"}[kind], it.Name, it.Type, need, it.Help})
		}
	}
	factory.Table(w, "It takes nothing and gives nothing.", []string{"", "NAME", "TYPE", "", "HELP"}, rows)
}

// BuildOptions of `pelton action build`.
type BuildOptions struct {
	*factory.Factory
	Repository, Path string
	Force, Wait      bool
	Timeout          time.Duration
}

// NewCmdBuild makes the command; runF replaces its work in tests.
func NewCmdBuild(f *factory.Factory, runF func(context.Context, *BuildOptions) error) *cobra.Command {
	o := &BuildOptions{Factory: f}
	noWait := false
	cmd := &cobra.Command{
		Use: "build REPOSITORY PATH", Short: "Build one action of a repository and follow its log", Args: factory.ExactArgs("REPOSITORY", "PATH"),
		Example: "  pelton action build weather-report actions/monthly",
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Repository, o.Path, o.Wait = args[0], strings.Trim(args[1], "/"), !noWait
			if o.Timeout <= 0 {
				return factory.Usage("--timeout %s is not above 0", o.Timeout)
			}
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return build(cmd.Context(), o)
		},
	}
	cmd.Flags().BoolVar(&o.Force, "force", false, "build it although nothing has changed")
	cmd.Flags().BoolVar(&noWait, "no-wait", false, "only order the build")
	cmd.Flags().DurationVar(&o.Timeout, "timeout", 15*time.Minute, "wait at most this long")
	return cmd
}

func build(ctx context.Context, o *BuildOptions) error {
	c, err := o.Client(ctx)
	if err != nil {
		return err
	}
	r, err := repo.Find(ctx, c, o.Repository)
	if err != nil {
		return err
	}
	var b sdk.Build
	raw, err := c.JSON(ctx, http.MethodPost, c.Path("repository", "builds"), map[string]any{"repository": r.ID, "path": o.Path, "force": o.Force}, &b)
	if err != nil {
		return fmt.Errorf("build %s: %w", o.Path, err)
	}
	if o.Wait {
		id, printed := b.ID, 0
		err := factory.Poll(ctx, o.Timeout, "build "+id, func() (bool, error) {
			var err error
			b = sdk.Build{}
			if raw, err = c.Get(ctx, c.Path("repository", "builds", id), &b); err != nil {
				return false, err
			}
			// The state was read before the log, so the log of an ended build is whole.
			log, err := c.Get(ctx, c.Path("repository", "builds", id, "log"), nil)
			if err == nil && len(log) > printed {
				_, err = o.Err.Write(log[printed:])
				printed = len(log)
			}
			return b.Ended(), err
		})
		if err != nil {
			return err
		}
	}
	if err := o.Print(raw, []string{b.ID}, func(w io.Writer) {
		fmt.Fprintf(w, "build %s of %s: %s\n", b.ID, o.Path, b.State)
	}); err != nil {
		return err
	}
	if b.State == "failed" || b.State == "cancelled" {
		return fmt.Errorf("the build of %s %s: %s", o.Path, b.State, b.Message)
	}
	return nil
}
