package factory

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/pelton-run/pelton/platform/sdk"
)

// Poll calls check until it says done, fails, or the timeout passes (ErrStillRunning).
// The pause between calls grows from 50 ms to a second.
func Poll(ctx context.Context, timeout time.Duration, what string, check func() (bool, error)) error {
	end := time.NewTimer(timeout)
	defer end.Stop()
	for pause := 50 * time.Millisecond; ; pause = min(pause*3/2, time.Second) {
		done, err := check()
		if done || err != nil {
			return err
		}
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-end.C:
			t.Stop()
			return fmt.Errorf("%s is not over after %s: %w", what, timeout, ErrStillRunning)
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		}
	}
}

// WhileBuilt gives an order again for as long as an action that it is about is being built, and says so once on f.Err.
func (f *Factory) WhileBuilt(ctx context.Context, timeout time.Duration, what string, order func() error) error {
	told := false
	return Poll(ctx, timeout, "the build of an action of "+what, func() (bool, error) {
		err := order()
		var p *sdk.Problem
		if !errors.As(err, &p) || p.Code != "building" {
			return true, err
		}
		if !told {
			told = true
			fmt.Fprintf(f.Err, "%s: waiting for the build of an action that it uses\n", what)
		}
		return false, nil
	})
}

// Place prints a problem as editors read it: file:line:column: message (remedy).
func Place(l sdk.Location) string {
	var b strings.Builder
	if l.File != "" {
		b.WriteString(l.File + ":")
	}
	if l.Line > 0 {
		fmt.Fprintf(&b, "%d:", l.Line)
		if l.Column > 0 {
			fmt.Fprintf(&b, "%d:", l.Column)
		}
	}
	if b.Len() > 0 {
		b.WriteString(" ")
	}
	if l.IsWarning() {
		b.WriteString("warning: ")
	}
	if l.Path != "" {
		b.WriteString(l.Path + ": ")
	}
	b.WriteString(l.Message)
	if l.Remedy != "" {
		b.WriteString(" (" + l.Remedy + ")")
	}
	return b.String()
}
