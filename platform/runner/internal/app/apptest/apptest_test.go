package apptest_test

import (
	"testing"

	"github.com/pelton-run/pelton/platform/runner/internal/app/apptest"
)

func TestFiles(t *testing.T) { apptest.FilesSuite(t, apptest.Files{Dir: t.TempDir()}) }
