// Package adm is pelton-adm, the operator's tool: backup and restore of what a platform keeps, doctor, and
// installing on Kubernetes. It asks nothing of a platform that works; who uses the platform has pelton.
package adm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/server"
)

// tool is what the commands share.
type tool struct {
	environ        []string
	stdin          io.Reader
	stdout, stderr io.Writer
	config, home   string
}

// errTold ends the program with code 1; what is wrong has been said.
var errTold = errors.New("told")

// Main runs the tool and returns its exit code: 0, 1 for a failure, 2 for wrong usage.
func Main(args, environ []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	t := &tool{environ: environ, stdin: stdin, stdout: stdout, stderr: stderr}
	root := t.root()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	var usage *usageError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &usage):
		fmt.Fprintln(stderr, "pelton-adm:", err)
		return 2
	case !errors.Is(err, errTold):
		fmt.Fprintln(stderr, "pelton-adm:", err)
	}
	return 1
}

// usageError is a call that says something that the tool does not know.
type usageError struct{ error }

func (u *usageError) Unwrap() error { return u.error }

func (t *tool) root() *cobra.Command {
	root := &cobra.Command{
		Use: "pelton-adm", Short: "Install, check, back up and restore a Pelton", Version: server.Version,
		SilenceUsage: true, SilenceErrors: true, CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err} })
	root.AddCommand(t.backupCommand(), t.restoreCommand(), t.setupCommand(),
		t.installCommand("install"), t.installCommand("upgrade"), t.uninstallCommand(), t.doctorCommand(), t.probeCommand(), t.holdCommand(), t.mayRestoreCommand())
	return root
}

// data lets a command work on the data that the settings of peltond name.
func (t *tool) data(cmd *cobra.Command) {
	cmd.Flags().StringVar(&t.config, "config", "", "settings file of peltond (YAML); PELTON_… of the environment counts, too")
	cmd.Flags().StringVar(&t.home, "home", "", "folder of the data (default .pelton)")
}

func (t *tool) settings() (server.Config, error) {
	set := map[string]string{}
	if t.home != "" {
		set["home"] = t.home
	}
	cfg, err := server.LoadConfig(t.config, t.environ, set)
	if err != nil {
		return cfg, &usageError{err}
	}
	return cfg, nil
}

func (t *tool) say(format string, args ...any) { fmt.Fprintf(t.stderr, "  "+format+"\n", args...) }

// exactly wants n arguments, named by usage.
func exactly(n int, usage string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) != n {
			return &usageError{fault.New(fault.Invalid, "usage: pelton-adm %s", usage)}
		}
		return nil
	}
}
