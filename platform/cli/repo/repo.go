// Package repo is `pelton repo`: the Git repositories and folders that are scanned for actions
// and workflows.
package repo

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pelton-run/pelton/platform/cli/factory"
	"github.com/pelton-run/pelton/platform/sdk"
)

// NewCmd makes the command.
func NewCmd(f *factory.Factory) *cobra.Command {
	cmd := &cobra.Command{Use: "repo", Short: "Repositories that are scanned for actions and workflows"}
	f.AddProject(cmd)
	cmd.AddCommand(NewCmdAdd(f, nil), NewCmdScan(f, nil), NewCmdList(f, nil), NewCmdShow(f, nil), NewCmdRemove(f, nil))
	return cmd
}

// AddOptions of `pelton repo add`.
type AddOptions struct {
	*factory.Factory
	Source, Name, Branch    string
	Watch, AutoDeploy, Scan bool
}

// NewCmdAdd makes the command; runF replaces its work in tests.
func NewCmdAdd(f *factory.Factory, runF func(context.Context, *AddOptions) error) *cobra.Command {
	o := &AddOptions{Factory: f}
	cmd := &cobra.Command{
		Use: "add URL|DIR", Short: "Add a Git repository by URL, or a folder of the server's machine", Args: factory.ExactArgs("URL|DIR"),
		Example: "  pelton repo add https://example.com/team/functions.git --branch main --scan\n  pelton repo add . --watch --auto-deploy",
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Source = args[0]
			if !isURL(o.Source) {
				if info, err := os.Stat(o.Source); err != nil || !info.IsDir() {
					return factory.Usage("%s is neither a URL (https://…, file://…) nor a folder", o.Source)
				}
				if o.Branch != "" {
					return factory.Usage("--branch is for Git repositories: name this one by URL, file://%s", abs(o.Source))
				}
			} else if o.Watch {
				return factory.Usage("--watch is for folders: a Git repository is scanned with `pelton repo scan`")
			}
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return add(cmd.Context(), o)
		},
	}
	cmd.Flags().StringVar(&o.Name, "name", "", "its name here (default: from the URL or folder)")
	cmd.Flags().StringVar(&o.Branch, "branch", "", "branch to scan (default: the repository's own)")
	cmd.Flags().BoolVar(&o.Watch, "watch", false, "scan a folder again on every change")
	cmd.Flags().BoolVar(&o.AutoDeploy, "auto-deploy", false, "deploy the workflows that are found")
	cmd.Flags().BoolVar(&o.Scan, "scan", false, "scan it at once and wait for the outcome")
	return cmd
}

func isURL(s string) bool { return strings.Contains(s, "://") }

func abs(dir string) string {
	if a, err := filepath.Abs(dir); err == nil {
		return a
	}
	return dir
}

func add(ctx context.Context, o *AddOptions) error {
	c, err := o.Client(ctx)
	if err != nil {
		return err
	}
	body := map[string]any{"auto_deploy": o.AutoDeploy}
	if o.Name != "" {
		body["name"] = o.Name
	}
	if isURL(o.Source) {
		body["url"] = o.Source
		if o.Branch != "" {
			body["branch"] = o.Branch
		}
	} else {
		body["path"], body["watch"] = abs(o.Source), o.Watch
	}
	var r sdk.Repository
	raw, err := c.JSON(ctx, "POST", c.Path("repository", "repositories"), body, &r)
	if err != nil {
		return fmt.Errorf("add %s: %w", o.Source, err)
	}
	if o.Scan {
		return scan(ctx, &ScanOptions{Factory: o.Factory, Name: r.ID, Wait: true, Timeout: 10 * time.Minute})
	}
	return o.Print(raw, []string{r.ID}, func(w io.Writer) {
		fmt.Fprintf(w, "repository %s is added", r.Name)
		if !o.Watch {
			fmt.Fprintf(w, "; `pelton repo scan %s` finds its actions and workflows", r.Name)
		}
		fmt.Fprintln(w)
	})
}

// Find reads the repository of a name or id.
func Find(ctx context.Context, c *sdk.Client, name string) (sdk.Repository, error) {
	cursor := ""
	for {
		var all sdk.List[sdk.Repository]
		if _, err := c.Get(ctx, c.Path("repository", "repositories")+factory.Query("limit", "200", "cursor", cursor), &all); err != nil {
			return sdk.Repository{}, err
		}
		for _, r := range all.Items {
			if r.ID == name || r.Name == name {
				return r, nil
			}
		}
		if cursor = all.NextCursor; cursor == "" {
			return sdk.Repository{}, &sdk.Problem{Status: 404, Detail: fmt.Sprintf("there is no repository %s in project %s: `pelton repo list` names them", name, c.Project)}
		}
	}
}

// ScanOptions of `pelton repo scan`.
type ScanOptions struct {
	*factory.Factory
	Name    string
	Wait    bool
	Timeout time.Duration
}

// NewCmdScan makes the command; runF replaces its work in tests.
func NewCmdScan(f *factory.Factory, runF func(context.Context, *ScanOptions) error) *cobra.Command {
	o := &ScanOptions{Factory: f}
	noWait := false
	cmd := &cobra.Command{
		Use: "scan REPOSITORY", Short: "Look for actions and workflows, and tell every error", Args: factory.ExactArgs("REPOSITORY"),
		Example: "  pelton repo scan weather-report",
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.Name, o.Wait = args[0], !noWait; o.Timeout <= 0 {
				return factory.Usage("--timeout %s is not above 0", o.Timeout)
			}
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return scan(cmd.Context(), o)
		},
	}
	cmd.Flags().BoolVar(&noWait, "no-wait", false, "only order the scan")
	cmd.Flags().DurationVar(&o.Timeout, "timeout", 10*time.Minute, "wait at most this long")
	return cmd
}

func scan(ctx context.Context, o *ScanOptions) error {
	c, err := o.Client(ctx)
	if err != nil {
		return err
	}
	r, err := Find(ctx, c, o.Name)
	if err != nil {
		return err
	}
	var s sdk.Scan
	raw, err := c.JSON(ctx, "POST", c.Path("repository", "repositories", r.ID, "scans"), map[string]any{}, &s)
	if err != nil {
		return fmt.Errorf("scan %s: %w", r.Name, err)
	}
	if o.Wait && !s.Ended() {
		id := s.ID
		err := factory.Poll(ctx, o.Timeout, "scan "+id, func() (bool, error) {
			s = sdk.Scan{}
			var err error
			raw, err = c.Get(ctx, c.Path("repository", "scans", id), &s)
			return s.Ended(), err
		})
		if err != nil {
			return err
		}
	}
	if err := o.Print(raw, []string{s.ID}, func(w io.Writer) { describe(w, r, s) }); err != nil {
		return err
	}
	if !s.Ended() {
		return nil
	}
	if n := problems(s); n > 0 || s.State == "failed" {
		return fmt.Errorf("the scan of %s found %s: %w", r.Name, factory.Count(n, "error"), factory.ErrSilent)
	}
	return nil
}

func problems(s sdk.Scan) int {
	n := 0
	for _, f := range append(append([]sdk.Found{}, s.Actions...), s.Workflows...) {
		for _, e := range f.Errors {
			if !e.IsWarning() {
				n++
			}
		}
	}
	return n
}

func describe(w io.Writer, r sdk.Repository, s sdk.Scan) {
	commit := ""
	if s.Commit != "" {
		commit = " at " + s.Commit[:min(12, len(s.Commit))]
	}
	fmt.Fprintf(w, "scan %s of %s%s: %s\n", s.ID, r.Name, commit, s.State)
	if s.Error != "" {
		fmt.Fprintln(w, s.Error)
	}
	if !s.Ended() {
		return
	}
	var rows [][]string
	for _, f := range s.Actions {
		rows = append(rows, []string{"action", f.ID, f.Version, f.State, f.Path})
	}
	for _, f := range s.Workflows {
		rows = append(rows, []string{"workflow", f.ID, "", f.State, f.Path})
	}
	factory.Table(w, "It holds no action and no workflow.", []string{"KIND", "NAME", "VERSION", "STATE", "PATH"}, rows)
	for _, f := range append(append([]sdk.Found{}, s.Actions...), s.Workflows...) {
		for _, e := range f.Errors {
			if e.File == "" {
				e.File = f.Path
			}
			fmt.Fprintln(w, factory.Place(e))
		}
	}
}

// ListOptions of `pelton repo list`.
type ListOptions struct{ *factory.Factory }

// NewCmdList makes the command; runF replaces its work in tests.
func NewCmdList(f *factory.Factory, runF func(context.Context, *ListOptions) error) *cobra.Command {
	o := &ListOptions{Factory: f}
	return &cobra.Command{
		Use: "list", Short: "List the repositories", Args: factory.ExactArgs(),
		Example: "  pelton repo list",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			c, err := o.Client(cmd.Context())
			if err != nil {
				return err
			}
			var all sdk.List[sdk.Repository]
			raw, err := c.Get(cmd.Context(), c.Path("repository", "repositories")+factory.Query("limit", "200"), &all)
			if err != nil {
				return err
			}
			var names []string
			var rows [][]string
			for _, r := range all.Items {
				names = append(names, r.ID)
				rows = append(rows, []string{r.Name, source(r), mode(r), r.ID})
			}
			return o.Print(raw, names, func(w io.Writer) {
				factory.Table(w, "No repositories. Add one with `pelton repo add URL|DIR`.", []string{"NAME", "FROM", "MODE", "ID"}, rows)
			})
		},
	}
}

func source(r sdk.Repository) string {
	if r.URL == "" {
		return r.Path
	}
	if r.Branch != "" {
		return r.URL + "#" + r.Branch
	}
	return r.URL
}

func mode(r sdk.Repository) string {
	var all []string
	if r.Watch {
		all = append(all, "watched")
	}
	if r.AutoDeploy {
		all = append(all, "deployed")
	}
	return strings.Join(all, ", ")
}

// OneOptions of the commands on one repository.
type OneOptions struct {
	*factory.Factory
	Name string
}

// NewCmdShow makes the command; runF replaces its work in tests.
func NewCmdShow(f *factory.Factory, runF func(context.Context, *OneOptions) error) *cobra.Command {
	o := &OneOptions{Factory: f}
	return &cobra.Command{
		Use: "show REPOSITORY", Short: "Show a repository and its newest scan", Args: factory.ExactArgs("REPOSITORY"),
		Example: "  pelton repo show weather-report -o yaml",
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.Name = args[0]; runF != nil {
				return runF(cmd.Context(), o)
			}
			return showOne(cmd.Context(), o)
		},
	}
}

func showOne(ctx context.Context, o *OneOptions) error {
	c, err := o.Client(ctx)
	if err != nil {
		return err
	}
	r, err := Find(ctx, c, o.Name)
	if err != nil {
		return err
	}
	raw, err := c.Get(ctx, c.Path("repository", "repositories", r.ID), &r)
	if err != nil {
		return err
	}
	var scans sdk.List[sdk.Scan]
	if _, err := c.Get(ctx, c.Path("repository", "repositories", r.ID, "scans")+factory.Query("limit", "1"), &scans); err != nil {
		return err
	}
	return o.Print(raw, []string{r.ID}, func(w io.Writer) {
		fmt.Fprintf(w, "repository %s (%s) from %s %s\n", r.Name, r.ID, source(r), mode(r))
		if len(scans.Items) == 0 {
			fmt.Fprintf(w, "not scanned yet: `pelton repo scan %s`\n", r.Name)
			return
		}
		describe(w, r, scans.Items[0])
	})
}

// NewCmdRemove makes the command; runF replaces its work in tests.
func NewCmdRemove(f *factory.Factory, runF func(context.Context, *OneOptions) error) *cobra.Command {
	o := &OneOptions{Factory: f}
	return &cobra.Command{
		Use: "remove REPOSITORY", Short: "Forget a repository; what was built and deployed stays", Args: factory.ExactArgs("REPOSITORY"),
		Example: "  pelton repo remove weather-report",
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.Name = args[0]; runF != nil {
				return runF(cmd.Context(), o)
			}
			c, err := o.Client(cmd.Context())
			if err != nil {
				return err
			}
			r, err := Find(cmd.Context(), c, o.Name)
			if err != nil {
				return err
			}
			if _, err := c.JSON(cmd.Context(), "DELETE", c.Path("repository", "repositories", r.ID), nil, nil); err != nil {
				return fmt.Errorf("remove %s: %w", r.Name, err)
			}
			fmt.Fprintf(o.Out, "repository %s is removed\n", r.Name)
			return nil
		},
	}
}
