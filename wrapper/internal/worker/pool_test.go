package worker

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/wrapper/internal/bundle"
)

// TestBrief: executions are brief by the clock of the process that ran them, however late we hear of their
// ends, and by ours where it does not tell.
func TestBrief(t *testing.T) {
	p := NewPool(Config{Bundle: &bundle.Bundle{Isolation: "reuse"}})
	late := time.Now().Add(-time.Hour)
	require.False(t, p.Brief(), "nothing is known yet")
	p.held(late, time.Millisecond)
	require.True(t, p.Brief())
	p.held(late, 0)
	require.False(t, p.Brief())
}
