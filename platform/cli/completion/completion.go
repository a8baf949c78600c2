// Package completion is `pelton completion`: the script that completes pelton's commands in a shell.
package completion

import (
	"github.com/spf13/cobra"

	"github.com/pelton-run/pelton/platform/cli/factory"
)

var shells = []string{"bash", "zsh", "fish"}

// NewCmd makes the command.
func NewCmd(f *factory.Factory) *cobra.Command {
	return &cobra.Command{
		Use: "completion bash|zsh|fish", Short: "Print the script that completes commands in a shell",
		Long: `Prints a script that completes pelton's commands and flags.

  bash   pelton completion bash > ~/.local/share/bash-completion/completions/pelton
  zsh    pelton completion zsh > "${fpath[1]}/_pelton"
  fish   pelton completion fish > ~/.config/fish/completions/pelton.fish

A new shell then completes with Tab.`,
		Example:   "  source <(pelton completion bash)",
		Args:      factory.ExactArgs("bash|zsh|fish"),
		ValidArgs: shells,
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(f.Out, true)
			case "zsh":
				return root.GenZshCompletion(f.Out)
			case "fish":
				return root.GenFishCompletion(f.Out, true)
			}
			return factory.Usage("%q is none of %v", args[0], shells)
		},
	}
}
