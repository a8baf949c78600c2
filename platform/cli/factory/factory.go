// Package factory gives commands what they share: streams, the server to speak to and the way
// to print. Commands take it as a value, so tests run them without a terminal or a server.
package factory

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pelton-run/pelton/platform/cli/local"
	"github.com/pelton-run/pelton/platform/sdk"
)

// Factory of one call of the program.
type Factory struct {
	In       io.Reader
	Out, Err io.Writer
	Getenv   func(string) string
	// ReadSecret asks for a text without showing it. Nil when In is no terminal.
	ReadSecret func(prompt string) (string, error)

	// Of the flags that every command has.
	Server, Project, Output, Home string
}

// AddFlags adds the flags that every command has.
func (f *Factory) AddFlags(cmd *cobra.Command) {
	p := cmd.PersistentFlags()
	p.StringVar(&f.Server, "server", "", "URL of the server (default: $PELTON_SERVER, the running server of ./.pelton, or the last login)")
	p.StringVarP(&f.Output, "output", "o", "table", "table, json, yaml or name")
}

// AddProject adds the flag of the commands that work in a project.
func (f *Factory) AddProject(cmd *cobra.Command) {
	cmd.PersistentFlags().StringVar(&f.Project, "project", "", "project (default: $PELTON_PROJECT, the last login's, or default)")
}

// Context is what `pelton login` remembers.
type Context struct {
	Server  string `json:"server"`
	Token   string `json:"token"`
	Project string `json:"project,omitempty"`
}

// ContextPath is the file of the Context: $PELTON_CONFIG or ~/.config/pelton/config.json.
func (f *Factory) ContextPath() (string, error) {
	if p := f.Getenv("PELTON_CONFIG"); p != "" {
		return p, nil
	}
	if x := f.Getenv("XDG_CONFIG_HOME"); x != "" {
		return filepath.Join(x, "pelton", "config.json"), nil
	}
	home := f.Getenv("HOME")
	if home == "" {
		return "", Usage("neither HOME nor PELTON_CONFIG is set: set PELTON_CONFIG to the file that remembers the login")
	}
	return filepath.Join(home, ".config", "pelton", "config.json"), nil
}

// LoadContext reads the Context; a missing file is an empty one.
func (f *Factory) LoadContext() (Context, error) {
	var c Context
	path, err := f.ContextPath()
	if err != nil {
		return c, err
	}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return c, err
	}
	if err := json.Unmarshal(data, &c); err != nil {
		return c, fmt.Errorf("%s is not readable as JSON (%w): delete it and run `pelton login` again", path, err)
	}
	return c, nil
}

// SaveContext writes the Context for its owner alone; it appears whole or not at all.
func (f *Factory) SaveContext(c Context) error {
	path, err := f.ContextPath()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	data, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".config-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(append(data, '\n')) // CreateTemp makes it 0600
	if err = errors.Join(err, tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}

// Client is the client for the server to speak to, found in this order: --server, PELTON_SERVER,
// the running server of PELTON_HOME or ./.pelton, the login. A token of one server is never sent to another.
func (f *Factory) Client(ctx context.Context) (*sdk.Client, error) {
	saved, err := f.LoadContext()
	if err != nil {
		return nil, err
	}
	c := &sdk.Client{Patience: 15 * time.Second, Project: first(f.Project, f.Getenv("PELTON_PROJECT"), saved.Project, "default")}
	token := f.Getenv("PELTON_TOKEN")
	named := strings.TrimRight(first(f.Server, f.Getenv("PELTON_SERVER")), "/")
	state, running := local.Find(ctx, f.HomeDir())
	switch {
	case named != "":
		if err := checkURL(named); err != nil {
			return nil, err
		}
		c.URL = named
	case running:
		c.URL = strings.TrimRight(state.URL, "/")
	case saved.Server != "":
		c.URL = strings.TrimRight(saved.Server, "/")
	default:
		return nil, errors.New("no server is known: start one with `pelton dev`, sign in with `pelton login --server URL`, or name one with --server URL")
	}
	switch {
	case token != "":
		c.Token = token
	case saved.Server == c.URL && saved.Token != "":
		c.Token = saved.Token
	case running && strings.TrimRight(state.URL, "/") == c.URL:
		c.Token = state.Token
	}
	return c, nil
}

// HomeDir is the folder of the local server: PELTON_HOME or ./.pelton.
func (f *Factory) HomeDir() string {
	return first(f.Home, f.Getenv("PELTON_HOME"), ".pelton")
}

func checkURL(s string) error {
	if !strings.HasPrefix(s, "http://") && !strings.HasPrefix(s, "https://") {
		return Usage("--server %q is no URL: write it with http:// or https://, for example http://127.0.0.1:8080", s)
	}
	return nil
}

func first(all ...string) string {
	for _, s := range all {
		if s != "" {
			return s
		}
	}
	return ""
}
