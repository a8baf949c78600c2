package factory

import (
	"context"
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
