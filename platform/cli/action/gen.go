package action

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/pelton-run/pelton/functions/formats/action"
	"github.com/pelton-run/pelton/platform/cli/factory"
	"github.com/pelton-run/pelton/platform/cli/typings"
)

// GenOptions of `pelton action gen`.
type GenOptions struct {
	*factory.Factory
	Dirs []string
}

// NewCmdGen makes the command; runF replaces its work in tests.
func NewCmdGen(f *factory.Factory, runF func(context.Context, *GenOptions) error) *cobra.Command {
	o := &GenOptions{Factory: f}
	return &cobra.Command{
		Use: "gen DIR…", Short: "Write the types of actions' inputs and outputs for editors",
		Long: `Writes types of the inputs and outputs in action.yaml, for the action in each folder or for all
actions below it:

  Python    pelton_types.py     from pelton_types import Inputs, Outputs
  Node.js   pelton_types.d.ts   /** @type {import("./pelton_types").Handle} */
  Go        pelton_types.go     Input and Output, which a build generates anyhow

A file of that name that is your own is never touched. pelton dev writes such a file again when
action.yaml changes.`,
		Example: "  pelton action gen actions/resize\n  pelton action gen .",
		Args:    atLeastOneDir,
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.Dirs = args; runF != nil {
				return runF(cmd.Context(), o)
			}
			return gen(o)
		},
	}
}

func gen(o *GenOptions) error {
	done := []fileState{}
	refused := 0
	err := each(o.Dirs, func(dir, _ string, a action.Action) error {
		file, state, err := typings.Write(dir, a)
		if errors.Is(err, typings.ErrOwn) {
			refused++
			fmt.Fprintln(o.Err, err)
			return nil
		}
		if err != nil {
			return fmt.Errorf("generate the types of %s: %w", dir, err)
		}
		done = append(done, fileState{filepath.Clean(file), state})
		return nil
	})
	if err != nil {
		return err
	}
	if err := printStates(o.Factory, done); err != nil {
		return err
	}
	if refused > 0 {
		return fmt.Errorf("%s not replaced", factory.Count(refused, "file"))
	}
	return nil
}
