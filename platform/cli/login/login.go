// Package login is `pelton login`.
package login

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pelton-run/pelton/platform/cli/factory"
	"github.com/pelton-run/pelton/platform/sdk"
)

// Options of `pelton login`.
type Options struct {
	*factory.Factory
	Username string
	Stdin    bool
	Key      bool
}

// NewCmd makes the command.
func NewCmd(f *factory.Factory) *cobra.Command { return NewCmdLogin(f, nil) }

// NewCmdLogin makes the command; runF replaces its work in tests.
func NewCmdLogin(f *factory.Factory, runF func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Factory: f}
	cmd := &cobra.Command{
		Use: "login", Short: "Sign in and remember it",
		Long:    "Signs in to a server and remembers it in ~/.config/pelton/config.json ($PELTON_CONFIG), readable by you alone.",
		Example: "  pelton login --server https://pelton.example.com --username ada\n  pelton login --server http://127.0.0.1:8080 --api-key --stdin < key.txt",
		Args:    factory.ExactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return login(cmd.Context(), o)
		},
	}
	f.AddProject(cmd)
	cmd.Flags().StringVar(&o.Username, "username", "admin", "who you are")
	cmd.Flags().BoolVar(&o.Stdin, "stdin", false, "read the password, or the API key, from standard input")
	cmd.Flags().BoolVar(&o.Key, "api-key", false, "sign in with an API key instead of a password")
	return cmd
}

func login(ctx context.Context, o *Options) error {
	c, err := o.Client(ctx)
	if err != nil {
		return err
	}
	what := "password of " + o.Username
	if o.Key {
		what = "API key"
	}
	secret, err := o.Secret(what, o.Stdin)
	if err != nil {
		return err
	}
	who := sdk.Client{URL: c.URL, HTTP: c.HTTP, Project: c.Project, Token: secret}
	if !o.Key {
		who.Token = ""
		var answer sdk.Login
		if _, err := who.JSON(ctx, "POST", "/authorization/v1/login", map[string]string{"username": o.Username, "password": secret}, &answer); err != nil {
			return fmt.Errorf("sign in at %s: %w", c.URL, err)
		}
		who.Token = answer.Token
	}
	raw, err := who.Get(ctx, "/authorization/v1/me", nil)
	if err != nil {
		return fmt.Errorf("sign in at %s: %w", c.URL, err)
	}
	saved, err := o.LoadContext()
	if err != nil {
		return err
	}
	project := o.Project
	if project == "" && strings.TrimRight(saved.Server, "/") == c.URL {
		project = saved.Project
	}
	if err := o.SaveContext(factory.Context{Server: c.URL, Token: who.Token, Project: project}); err != nil {
		return err
	}
	return o.Print(raw, []string{c.URL}, func(w io.Writer) { fmt.Fprintf(w, "signed in at %s\n", c.URL) })
}
