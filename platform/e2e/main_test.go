package e2e

import (
	"os"
	"testing"

	"github.com/pelton-run/pelton/platform/kit/miniotest"
	"github.com/pelton-run/pelton/platform/kit/pgtest"
	"github.com/pelton-run/pelton/platform/kit/rabbittest"
)

func TestMain(m *testing.M) {
	code := m.Run()
	pgtest.Stop()
	rabbittest.Stop()
	miniotest.Stop()
	os.Exit(code)
}
