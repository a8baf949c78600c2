package factory

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/sdk"
)

// The exit codes.
const (
	ExitOK           = 0
	ExitFailure      = 1
	ExitUsage        = 2
	ExitUnauthorized = 4
	ExitNotFound     = 5
	ExitStillRunning = 8
)

// UsageError is a call of the program that cannot be meant.
type UsageError struct{ Message string }

func (e *UsageError) Error() string { return e.Message }

// Usage makes a UsageError.
func Usage(format string, args ...any) error {
	return &UsageError{fmt.Sprintf(format, args...)}
}

// ErrStillRunning says that --wait ran out while what it waits for goes on.
var ErrStillRunning = errors.New("it still runs")

// ErrSilent ends the program with 1; what went wrong was printed already.
var ErrSilent = errors.New("failed")

// ExitCode of an error.
func ExitCode(err error) int {
	var usage *UsageError
	var problem *sdk.Problem
	switch {
	case err == nil:
		return ExitOK
	case errors.As(err, &usage):
		return ExitUsage
	case errors.Is(err, ErrStillRunning):
		return ExitStillRunning
	case errors.As(err, &problem):
		switch problem.Status {
		case 401, 403:
			return ExitUnauthorized
		case 404:
			return ExitNotFound
		}
	}
	return ExitFailure
}

// Advice says what to do next about an error, "" where its message says it.
func Advice(err error) string {
	var problem *sdk.Problem
	var away *sdk.Unreachable
	switch {
	case errors.As(err, &away):
		return "start it with `pelton dev`, or name another with --server URL"
	case errors.As(err, &problem) && problem.Status == 401:
		return "sign in with `pelton login`, or set PELTON_TOKEN to an API key"
	case errors.As(err, &problem) && problem.Status == 403:
		return "ask an admin of the project for the role, or use another project with --project NAME"
	case errors.As(err, &problem) && problem.Status >= 500:
		return "the server's log says more"
	case errors.Is(err, context.DeadlineExceeded):
		return "try again, or wait longer with --timeout"
	}
	return ""
}

// ExactArgs wants the named arguments and says which is missing.
func ExactArgs(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < len(names) {
			return Usage("%s is missing: %s", names[len(args)], cmd.UseLine())
		}
		if len(args) > len(names) {
			return Usage("%q is one argument too many: %s", args[len(names)], cmd.UseLine())
		}
		return nil
	}
}

// AtMostOne wants one argument or none.
func AtMostOne(cmd *cobra.Command, args []string) error {
	if len(args) > 1 {
		return Usage("%q is one argument too many: %s", args[1], cmd.UseLine())
	}
	return nil
}

// OneOf checks a flag's value against the allowed ones.
func OneOf(flag, value string, allowed ...string) error {
	for _, a := range allowed {
		if a == value {
			return nil
		}
	}
	hint := ""
	if n := fault.Nearest(value, allowed); n != "" {
		hint = fmt.Sprintf(" (did you mean %s?)", n)
	}
	return Usage("--%s %q is none of %v%s", flag, value, allowed, hint)
}
