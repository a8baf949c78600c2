// Package action is `pelton action`: the library, builds, and an author's first steps.
package action

import (
	"context"
	"encoding/json"
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
	cmd.AddCommand(NewCmdList(f, nil), NewCmdShow(f, nil), NewCmdBuild(f, nil), NewCmdNew(f, nil), NewCmdCheck(f, nil), NewCmdConvert(f, nil), NewCmdRun(f, nil), NewCmdTest(f, nil), NewCmdLock(f, nil), NewCmdGen(f, nil))
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
		Example: "  pelton action list\n  pelton action list -o name",
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
		Example: "  pelton action show resize",
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
	Wait             bool
	Timeout          time.Duration
}

// NewCmdBuild makes the command; runF replaces its work in tests.
func NewCmdBuild(f *factory.Factory, runF func(context.Context, *BuildOptions) error) *cobra.Command {
	o := &BuildOptions{Factory: f}
	noWait := false
	cmd := &cobra.Command{
		Use: "build REPOSITORY PATH", Short: "Scan a repository anew and follow the build of one of its actions", Args: factory.ExactArgs("REPOSITORY", "PATH"),
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
	found, err := scan(ctx, c, r, o)
	if err != nil {
		return err
	}
	b, raw, err := orderOf(ctx, c, found.Build)
	if err != nil {
		return err
	}
	if b.ID == "" {
		return o.Print(raw, []string{found.Build}, func(w io.Writer) {
			fmt.Fprintf(w, "%s is built already as %s\n", o.Path, found.Build)
		})
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

// scan looks at the repository anew, which orders a build of everything that has none, and
// returns what it says of the action.
func scan(ctx context.Context, c *sdk.Client, r sdk.Repository, o *BuildOptions) (sdk.Found, error) {
	var s sdk.Scan
	if _, err := c.JSON(ctx, http.MethodPost, c.Path("repository", "repositories", r.ID, "scans"), map[string]any{}, &s); err != nil {
		return sdk.Found{}, fmt.Errorf("scan %s: %w", r.Name, err)
	}
	if id := s.ID; !s.Ended() {
		err := factory.Poll(ctx, o.Timeout, "scan "+id, func() (bool, error) {
			s = sdk.Scan{}
			_, err := c.Get(ctx, c.Path("repository", "scans", id), &s)
			return s.Ended(), err
		})
		if err != nil {
			return sdk.Found{}, err
		}
	}
	var paths []string
	for _, a := range s.Actions {
		if a.Path != o.Path {
			paths = append(paths, a.Path)
			continue
		}
		for _, e := range a.Errors {
			fmt.Fprintln(o.Err, factory.Place(e))
		}
		if a.Build == "" {
			return a, fmt.Errorf("%s cannot be built: %w", o.Path, factory.ErrSilent)
		}
		return a, nil
	}
	if s.Error != "" {
		return sdk.Found{}, fmt.Errorf("scan %s: %s", r.Name, s.Error)
	}
	return sdk.Found{}, &sdk.Problem{Status: 404, Detail: fmt.Sprintf("repository %s has no action in %s: it has %s", r.Name, o.Path, strings.Join(paths, ", "))}
}

// orderOf finds the newest build of a digest; an empty one when there is none in the last pages.
func orderOf(ctx context.Context, c *sdk.Client, digest string) (sdk.Build, json.RawMessage, error) {
	var all struct{ Items []json.RawMessage }
	raw, err := c.Get(ctx, c.Path("repository", "builds")+factory.Query("limit", "200"), &all)
	if err != nil {
		return sdk.Build{}, nil, err
	}
	for _, item := range all.Items {
		var b sdk.Build
		if err := json.Unmarshal(item, &b); err != nil {
			return sdk.Build{}, nil, fmt.Errorf("read the list of builds: %w", err)
		}
		if b.Build == digest {
			return b, item, nil
		}
	}
	return sdk.Build{}, raw, nil
}
