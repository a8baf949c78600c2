// Package cli is the program pelton: the root of its commands, its exit codes and how it tells
// errors. It is a client of the public HTTP interfaces and holds no rule of the platform.
package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/pelton-run/pelton/platform/cli/action"
	"github.com/pelton-run/pelton/platform/cli/apply"
	"github.com/pelton-run/pelton/platform/cli/build"
	"github.com/pelton-run/pelton/platform/cli/completion"
	"github.com/pelton-run/pelton/platform/cli/dev"
	"github.com/pelton-run/pelton/platform/cli/events"
	"github.com/pelton-run/pelton/platform/cli/factory"
	"github.com/pelton-run/pelton/platform/cli/key"
	"github.com/pelton-run/pelton/platform/cli/login"
	"github.com/pelton-run/pelton/platform/cli/project"
	"github.com/pelton-run/pelton/platform/cli/repo"
	"github.com/pelton-run/pelton/platform/cli/run"
	"github.com/pelton-run/pelton/platform/cli/secret"
	"github.com/pelton-run/pelton/platform/cli/suite"
	"github.com/pelton-run/pelton/platform/cli/variable"
	"github.com/pelton-run/pelton/platform/cli/version"
	"github.com/pelton-run/pelton/platform/cli/workflow"
)

// Main runs the program with the arguments of the process and returns its exit code.
func Main() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	f := &factory.Factory{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Getenv: os.Getenv}
	if term.IsTerminal(int(os.Stdin.Fd())) {
		f.ReadSecret = func(prompt string) (string, error) {
			fmt.Fprint(os.Stderr, prompt)
			text, err := term.ReadPassword(int(os.Stdin.Fd()))
			fmt.Fprintln(os.Stderr)
			return string(text), err
		}
	}
	return Run(ctx, f, os.Args[1:])
}

// Run runs the program on given streams.
func Run(ctx context.Context, f *factory.Factory, args []string) int {
	root := NewRoot(f)
	root.SetArgs(args)
	root.SetIn(bufio.NewReader(f.In))
	root.SetOut(f.Out)
	root.SetErr(f.Err)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return factory.ExitOK
	}
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		return 130 // interrupted, as shells tell it
	}
	if strings.HasPrefix(err.Error(), "unknown command") {
		err = factory.Usage("%s", strings.ReplaceAll(err.Error(), "\n\n", "\n"))
	}
	fmt.Fprintf(f.Err, "pelton: %s\n", strings.TrimSpace(strings.TrimSuffix(err.Error(), ": "+factory.ErrSilent.Error())))
	if advice := factory.Advice(err); advice != "" {
		fmt.Fprintf(f.Err, "  %s\n", advice)
	}
	return factory.ExitCode(err)
}

// NewRoot makes the root command.
func NewRoot(f *factory.Factory) *cobra.Command {
	root := &cobra.Command{
		Use: "pelton", Short: "Serverless functions with durable workflows",
		Long: `Serverless functions with durable workflows.

Write an action, run it here, watch a folder of actions and workflows, and work with a server. Lists
print as -o table, json, yaml or name. Exit codes: 0 done, 1 failed, 2 wrong usage, 4 not authorised,
5 not found, 8 the time to wait ran out and it still runs.`,
		Example:       "  pelton action new greet --workflow\n  pelton test\n  pelton dev\n  pelton run start greet -i name=Ada --wait",
		SilenceErrors: true, SilenceUsage: true,
		PersistentPreRunE: func(*cobra.Command, []string) error {
			return factory.OneOf("output", f.Output, factory.Formats...)
		},
	}
	f.AddFlags(root)
	_ = root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(factory.Formats, cobra.ShellCompDirectiveNoFileComp)) // the flag is there
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return factory.Usage("%v\n  `%s --help` lists the flags", err, cmd.CommandPath())
	})
	root.AddCommand(
		action.NewCmd(f), apply.NewCmd(f), build.NewCmd(f), dev.NewCmd(), events.NewCmd(f), key.NewCmd(f), login.NewCmd(f), project.NewCmd(f),
		repo.NewCmd(f), run.NewCmd(f), secret.NewCmd(f), suite.NewCmd(f, nil), variable.NewCmd(f), version.NewCmd(f), workflow.NewCmd(f),
	)
	root.CompletionOptions.DisableDefaultCmd = true // ours names the shells that it knows, and how to use it
	root.AddCommand(completion.NewCmd(f))
	strict(root)
	return root
}

// strict: a noun without a verb prints its help, with a wrong verb it is a usage error that
// names the nearest one (cobra itself checks that at the root alone).
func strict(cmd *cobra.Command) {
	for _, c := range cmd.Commands() {
		strict(c)
	}
	if cmd.Runnable() || !cmd.HasSubCommands() || !cmd.HasParent() {
		return
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return cmd.Help()
		}
		cmd.SuggestionsMinimumDistance = 2
		message := fmt.Sprintf("unknown command %q for %q", args[0], cmd.CommandPath())
		if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
			message += ": did you mean " + strings.Join(near, " or ") + "?"
		}
		return factory.Usage("%s\n  `%s --help` lists the commands", message, cmd.CommandPath())
	}
}
