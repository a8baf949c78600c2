// Package version is `pelton version`: which program this is, and which server runs here.
package version

import (
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/pelton-run/pelton/platform/cli/factory"
	"github.com/pelton-run/pelton/platform/cli/local"
)

// Version is set by the linker. Defaults to what the build knows of its source.
var Version = ""

type version struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`
	Modified bool   `json:"modified,omitempty"` // built of a tree with changes of its own
	Go       string `json:"go"`
	Platform string `json:"platform"`
	// Of the running server of this home.
	Server string `json:"server,omitempty"`
	URL    string `json:"url,omitempty"`
}

func current() version {
	v := version{Version: Version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Commit = s.Value
		case "vcs.modified":
			v.Modified = s.Value == "true"
		}
	}
	if v.Version == "" {
		v.Version = info.Main.Version
	}
	if v.Version == "" || v.Version == "(devel)" {
		v.Version = "dev"
	}
	return v
}

// NewCmd makes the command.
func NewCmd(f *factory.Factory) *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Tell the version of this program and of the server that runs here", Args: factory.ExactArgs(),
		Example: "  pelton version\n  pelton version -o json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			v := current()
			if s, ok := local.Find(cmd.Context(), f.HomeDir()); ok {
				v.Server, v.URL = s.Version, s.URL
			}
			raw, err := json.Marshal(v)
			if err != nil {
				return err
			}
			return f.Print(raw, []string{v.Version}, func(w io.Writer) {
				fmt.Fprintf(w, "pelton %s (%s, %s)\n", v.Version, v.Go, v.Platform)
				if v.URL != "" {
					fmt.Fprintf(w, "server %s at %s\n", v.Server, v.URL)
				}
			})
		},
	}
}
