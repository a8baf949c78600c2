package fault_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/kit/fault"
)

func TestKindsSurviveWrapping(t *testing.T) {
	cause := errors.New("disk")
	err := fmt.Errorf("save workflow w: %w", fault.Wrap(cause, fault.Unavailable, "the store is away"))
	require.True(t, fault.Is(err, fault.Unavailable))
	require.False(t, fault.Is(err, fault.Internal))
	require.False(t, fault.Is(nil, fault.Internal))
	require.ErrorIs(t, err, cause)
	require.Equal(t, fault.Internal, fault.KindOf(cause), "an error without a kind is ours")
	require.NoError(t, fault.Wrap(nil, fault.Internal, "nothing happened"))
}

func TestFieldsAreAllTold(t *testing.T) {
	err := fault.InvalidFields(fault.Field{Path: "a", Message: "is missing", Remedy: "add it"}, fault.Field{Path: "b", Message: "is 3"})
	require.ErrorContains(t, err, "a: is missing")
	require.ErrorContains(t, err, "b: is 3")
	require.Len(t, fault.As(fmt.Errorf("x: %w", err)).Fields, 2)
	require.Equal(t, "E1", fault.New(fault.Conflict, "no").WithCode("E1").Code)
}

func TestNearest(t *testing.T) {
	known := []string{"listen", "grace", "hosts", "a"}
	for name, want := range map[string]string{"lisen": "listen", "grcae": "grace", "host": "hosts", "zebra": "", "": "", "listen": "listen", "b": "a"} {
		require.Equal(t, want, fault.Nearest(name, known), name)
	}
}
