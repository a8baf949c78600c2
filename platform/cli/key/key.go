// Package key is `pelton key`: a project's API keys.
package key

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/pelton-run/pelton/platform/cli/factory"
	"github.com/pelton-run/pelton/platform/sdk"
)

// NewCmd makes the command.
func NewCmd(f *factory.Factory) *cobra.Command {
	cmd := &cobra.Command{Use: "key", Short: "A project's API keys"}
	f.AddProject(cmd)
	cmd.AddCommand(NewCmdCreate(f, nil), NewCmdList(f, nil), NewCmdRevoke(f, nil))
	return cmd
}

// Options of the commands on keys.
type Options struct {
	*factory.Factory
	Name, Role string
	Expires    time.Duration
}

// NewCmdCreate makes the command; runF replaces its work in tests.
func NewCmdCreate(f *factory.Factory, runF func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Factory: f}
	cmd := &cobra.Command{
		Use: "create NAME", Short: "Make an API key; it is shown once", Args: factory.ExactArgs("NAME"),
		Example: "  pelton key create ci --role operator --expires-in 720h > key.txt",
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Name = args[0]
			if err := factory.OneOf("role", o.Role, "viewer", "operator", "developer", "admin"); err != nil {
				return err
			}
			if o.Expires < 0 {
				return factory.Usage("--expires-in %s is negative", o.Expires)
			}
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return create(cmd.Context(), o, time.Now())
		},
	}
	cmd.Flags().StringVar(&o.Role, "role", "operator", "viewer, operator, developer or admin")
	cmd.Flags().DurationVar(&o.Expires, "expires-in", 0, "how long it is valid, for example 720h (default: until it is revoked)")
	return cmd
}

func create(ctx context.Context, o *Options, now time.Time) error {
	c, err := o.Client(ctx)
	if err != nil {
		return err
	}
	body := map[string]any{"name": o.Name, "role": o.Role}
	if o.Expires > 0 {
		body["expires_at"] = now.Add(o.Expires).UTC().Format("2006-01-02T15:04:05.000Z07:00")
	}
	var k sdk.Key
	raw, err := c.JSON(ctx, "POST", c.Path("authorization", "keys"), body, &k)
	if err != nil {
		return fmt.Errorf("make key %s: %w", o.Name, err)
	}
	// The key alone on standard output, so that KEY=$(pelton key create ci) works.
	return o.Print(raw, []string{k.Key}, func(w io.Writer) {
		fmt.Fprintf(o.Err, "key %s (%s, id %s), shown this once:\n", o.Name, o.Role, k.ID)
		fmt.Fprintln(w, k.Key)
	})
}

// NewCmdList makes the command; runF replaces its work in tests.
func NewCmdList(f *factory.Factory, runF func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Factory: f}
	return &cobra.Command{
		Use: "list", Short: "List the API keys", Args: factory.ExactArgs(),
		Example: "  pelton key list",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			c, err := o.Client(cmd.Context())
			if err != nil {
				return err
			}
			var all sdk.List[sdk.Key]
			raw, err := c.Get(cmd.Context(), c.Path("authorization", "keys"), &all)
			if err != nil {
				return err
			}
			var names []string
			var rows [][]string
			for _, k := range all.Items {
				names = append(names, k.ID)
				expires := factory.When(factory.Deref(k.ExpiresAt))
				if expires == "" {
					expires = "never"
				}
				rows = append(rows, []string{k.ID, k.Name, k.Role, k.Prefix, expires})
			}
			return o.Print(raw, names, func(w io.Writer) {
				factory.Table(w, "No API keys. Make one with `pelton key create NAME`.", []string{"ID", "NAME", "ROLE", "BEGINS WITH", "EXPIRES"}, rows)
			})
		},
	}
}

// NewCmdRevoke makes the command; runF replaces its work in tests.
func NewCmdRevoke(f *factory.Factory, runF func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Factory: f}
	return &cobra.Command{
		Use: "revoke ID", Short: "Revoke an API key", Args: factory.ExactArgs("ID"),
		Example: "  pelton key revoke 0198a2c4-0000-7000-8000-000000000000",
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.Name = args[0]; runF != nil {
				return runF(cmd.Context(), o)
			}
			c, err := o.Client(cmd.Context())
			if err != nil {
				return err
			}
			if _, err := c.JSON(cmd.Context(), "DELETE", c.Path("authorization", "keys", o.Name), nil, nil); err != nil {
				return fmt.Errorf("revoke key %s: %w", o.Name, err)
			}
			fmt.Fprintf(o.Out, "key %s is revoked\n", o.Name)
			return nil
		},
	}
}
