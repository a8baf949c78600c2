package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestReport: packages and failures are printed as go test does, skips are told with their reason.
func TestReport(t *testing.T) {
	var out bytes.Buffer
	skipped := report(strings.NewReader(`{"Action":"start","Package":"p"}
{"Action":"output","Package":"p","Test":"TestGood","Output":"quiet\n"}
{"Action":"pass","Package":"p","Test":"TestGood"}
{"Action":"output","Package":"p","Test":"TestBad","Output":"--- FAIL: TestBad\n"}
{"Action":"output","Package":"p","Test":"TestBad","Output":"    why\n"}
{"Action":"fail","Package":"p","Test":"TestBad"}
{"Action":"output","Package":"p","Test":"TestDisk","Output":"=== RUN   TestDisk\n"}
{"Action":"output","Package":"p","Test":"TestDisk","Output":"    a_test.go:7: that needs root\n"}
{"Action":"output","Package":"p","Test":"TestDisk","Output":"--- SKIP: TestDisk (0.00s)\n"}
{"Action":"skip","Package":"p","Test":"TestDisk"}
{"Action":"output","Package":"p","Output":"PASS\n"}
{"Action":"output","Package":"p","Output":"ok  \tp\t0.1s\n"}
{"Action":"skip","Package":"none"}
not json
`), &out)
	require.Equal(t, []string{"p TestDisk: a_test.go:7: that needs root"}, skipped)
	require.Equal(t, "--- FAIL: TestBad\n    why\nok  \tp\t0.1s\nnot json\n", out.String())
}
