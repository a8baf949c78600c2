package dirfiles_test

import (
	"testing"

	"github.com/pelton-run/pelton/platform/runner/internal/app/apptest"
	"github.com/pelton-run/pelton/platform/runner/internal/infra/dirfiles"
)

func TestStore(t *testing.T) { apptest.FilesSuite(t, dirfiles.Store{Dir: t.TempDir()}) }
