// Package build is `pelton build`: builds that are queued, under way and ended, their logs, and an end to one.
package build

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/pelton-run/pelton/platform/cli/factory"
	"github.com/pelton-run/pelton/platform/sdk"
	"github.com/pelton-run/pelton/platform/sdk/repository"
)

// NewCmd makes the command.
func NewCmd(f *factory.Factory) *cobra.Command {
	cmd := &cobra.Command{Use: "build", Short: "Builds of actions: what waits, what is under way, what failed and why"}
	f.AddProject(cmd)
	cmd.AddCommand(NewCmdCancel(f, nil), NewCmdList(f, nil), NewCmdLog(f, nil))
	return cmd
}

// Options of the commands on builds.
type Options struct {
	*factory.Factory
	ID            string
	State, Action string
	Limit         int
	Follow        bool
}

// states of a build, in the order in which it has them.
var states = []string{"queued", "building", "succeeded", "failed", "cancelled"}

// NewCmdList makes the command; runF replaces its work in tests.
func NewCmdList(f *factory.Factory, runF func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Factory: f}
	cmd := &cobra.Command{
		Use: "list", Short: "List builds, the newest first", Args: factory.ExactArgs(),
		Example: "  pelton build list --state queued\n  pelton build list --action monthly-figures",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.State != "" {
				if err := factory.OneOf("state", o.State, states...); err != nil {
					return err
				}
			}
			if o.Limit < 1 || o.Limit > 200 {
				return factory.Usage("--limit is %d: give 1 to 200", o.Limit)
			}
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return list(cmd.Context(), o)
		},
	}
	cmd.Flags().StringVar(&o.State, "state", "", "only those that are queued, building, succeeded, failed or cancelled")
	cmd.Flags().StringVar(&o.Action, "action", "", "only those of an action, by id or id@version")
	cmd.Flags().IntVar(&o.Limit, "limit", 50, "how many at most")
	_ = cmd.RegisterFlagCompletionFunc("state", cobra.FixedCompletions(states, cobra.ShellCompDirectiveNoFileComp)) // the flag is there
	return cmd
}

func list(ctx context.Context, o *Options) error {
	c, err := o.Client(ctx)
	if err != nil {
		return err
	}
	var all repository.BuildList
	raw, err := c.Get(ctx, c.Path("repository", "builds")+factory.Query("limit", strconv.Itoa(o.Limit), "state", o.State, "action", o.Action), &all)
	if err != nil {
		return err
	}
	var ids []string
	var rows [][]string
	for _, b := range all.Items {
		ids = append(ids, b.ID)
		rows = append(rows, []string{b.ID, b.Action, b.Repository, b.State, factory.When(b.CreatedAt), took(b), b.Message})
	}
	return o.Print(raw, ids, func(w io.Writer) {
		factory.Table(w, "No such builds.", []string{"ID", "ACTION", "REPOSITORY", "STATE", "ORDERED", "TOOK", "WHY"}, rows)
	})
}

// took is how long a build that has ended was under way.
func took(b sdk.Build) string {
	if b.StartedAt == nil || b.FinishedAt == nil {
		return ""
	}
	return factory.Millis(*b.StartedAt, *b.FinishedAt)
}

// NewCmdLog makes the command; runF replaces its work in tests.
func NewCmdLog(f *factory.Factory, runF func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Factory: f}
	cmd := &cobra.Command{
		Use: "log ID", Short: "Show a build's log", Args: factory.ExactArgs("ID"),
		Example: "  pelton build log 0193b2a4-7c1f-7d3e-9a55-2f6b8c1d4e90 --follow",
		RunE: func(cmd *cobra.Command, args []string) error {
			o.ID = args[0]
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return log(cmd.Context(), o)
		},
	}
	cmd.Flags().BoolVarP(&o.Follow, "follow", "f", false, "go on until the build has ended; the exit code is 1 unless it succeeded")
	return cmd
}

func log(ctx context.Context, o *Options) error {
	c, err := o.Client(ctx)
	if err != nil {
		return err
	}
	path := c.Path("repository", "builds", o.ID, "log")
	if !o.Follow {
		text, err := c.Get(ctx, path, nil)
		if err == nil {
			_, err = o.Out.Write(text)
		}
		return err
	}
	// A stream that broke begins from the start: what was printed before is left out.
	printed, seen := 0, 0
	err = c.Events(ctx, path+"?follow=true", func(data []byte) bool {
		if data == nil {
			seen = 0
			return true
		}
		var l repository.BuildLogLines
		if json.Unmarshal(data, &l) != nil {
			return true
		}
		for _, line := range l.Lines {
			if seen++; seen > printed {
				fmt.Fprintln(o.Out, line)
				printed = seen
			}
		}
		return true
	})
	if err != nil {
		return err
	}
	var b sdk.Build
	if _, err := c.Get(ctx, c.Path("repository", "builds", o.ID), &b); err != nil {
		return err
	}
	if b.State != "succeeded" {
		return fmt.Errorf("the build of %s %s: %s", b.Action, b.State, b.Message)
	}
	fmt.Fprintf(o.Err, "the build of %s succeeded after %s\n", b.Action, took(b))
	return nil
}

// NewCmdCancel makes the command; runF replaces its work in tests.
func NewCmdCancel(f *factory.Factory, runF func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Factory: f}
	return &cobra.Command{
		Use: "cancel ID", Short: "Cancel a build that waits or is under way", Args: factory.ExactArgs("ID"),
		Example: "  pelton build cancel 0193b2a4-7c1f-7d3e-9a55-2f6b8c1d4e90",
		RunE: func(cmd *cobra.Command, args []string) error {
			o.ID = args[0]
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return cancel(cmd.Context(), o)
		},
	}
}

func cancel(ctx context.Context, o *Options) error {
	c, err := o.Client(ctx)
	if err != nil {
		return err
	}
	var b sdk.Build
	raw, err := c.JSON(ctx, "POST", c.Path("repository", "builds", o.ID, "cancel"), nil, &b)
	if err != nil {
		return fmt.Errorf("cancel the build %s: %w", o.ID, err)
	}
	return o.Print(raw, []string{b.ID}, func(w io.Writer) {
		fmt.Fprintf(w, "the build of %s is cancelled, %s after it was ordered\n", b.Action, time.Since(b.CreatedAt).Round(time.Second))
	})
}
