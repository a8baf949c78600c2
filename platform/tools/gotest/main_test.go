package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestReport: packages and failures are printed as go test does, at the end failures begin once more and skips are told by
// their reason.
func TestReport(t *testing.T) {
	var out bytes.Buffer
	r := report(strings.NewReader(`{"Action":"start","Package":"p"}
{"Action":"output","Package":"p","Test":"TestGood","Output":"quiet\n"}
{"Action":"pass","Package":"p","Test":"TestGood"}
{"Action":"output","Package":"p","Test":"TestBad","Output":"--- FAIL: TestBad\n"}
{"Action":"output","Package":"p","Test":"TestBad","Output":"    why\n"}
{"Action":"fail","Package":"p","Test":"TestBad"}
{"Action":"output","Package":"p","Test":"TestDisk","Output":"=== RUN   TestDisk\n"}
{"Action":"output","Package":"p","Test":"TestDisk","Output":"    a_test.go:7: that needs root\n"}
{"Action":"output","Package":"p","Test":"TestDisk","Output":"--- SKIP: TestDisk (0.00s)\n"}
{"Action":"skip","Package":"p","Test":"TestDisk"}
{"Action":"output","Package":"p","Test":"TestFire","Output":"    b_test.go:12: that needs root\n"}
{"Action":"skip","Package":"p","Test":"TestFire"}
{"Action":"output","Package":"p","Output":"PASS\n"}
{"Action":"output","Package":"p","Output":"ok  \tp\t0.1s\n"}
{"Action":"skip","Package":"none"}
not json
`), &out)
	require.Equal(t, "--- FAIL: TestBad\n    why\nok  \tp\t0.1s\nnot json\n", out.String())
	out.Reset()
	r.summary(&out)
	require.Equal(t, "failed: p TestBad\n    why\nskipped, that needs root: p.TestDisk, p.TestFire\ntests skipped: 2\n", out.String())
}
