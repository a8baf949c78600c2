package app

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/runner/internal/domain"
)

func TestFingerprint(t *testing.T) {
	of := func(step, message, stack string) string {
		return fingerprint("w", step, &domain.StepError{Kind: "user_error", Message: message, Stack: stack})
	}
	base := of("s", `order 12 of "ada" not found in 0190b5c0-7c3e-7000-8000-000000000000`, "File \"/x/a/handler.py\", line 3, in handle")
	require.Equal(t, base, of("s", `order 7 of "bob"  not found in 0190b5c0-7c3e-7000-8000-00000000000f`, "File \"/y/b/handler.py\", line 9, in handle"))
	require.NotEqual(t, base, of("other", `order 12 of "ada" not found in 0190b5c0-7c3e-7000-8000-000000000000`, "File \"/x/a/handler.py\", line 3, in handle"))
	require.NotEqual(t, base, of("s", "order # is broken", "File \"/x/a/handler.py\", line 3, in handle"))
	require.NotEqual(t, base, of("s", `order 12 of "ada" not found in 0190b5c0-7c3e-7000-8000-000000000000`, "File \"/x/a/handler.py\", line 3, in other"))
	require.Empty(t, fingerprint("w", "s", nil))
	require.Equal(t, "took # s at # for #", normal("took 1.5 s at 0xdeadbeef for 'x y'"))
}
