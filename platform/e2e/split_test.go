package e2e

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/e2e/harness"
	"github.com/pelton-run/pelton/platform/kit/pgtest"
	"github.com/pelton-run/pelton/platform/kit/rabbittest"
)

// backends says how platforms are started: with PELTON_E2E=split a process for each service, on
// PostgreSQL and RabbitMQ; else one peltond with what is built in, or (cluster) with the test cluster for its actions.
func backends(t *testing.T) *harness.Split {
	t.Helper()
	switch mode := os.Getenv("PELTON_E2E"); mode {
	case "", "cluster":
		return nil
	case "split":
		return split(t)
	default:
		t.Fatalf("PELTON_E2E: is %s: set it to split or cluster, or leave it out", mode)
		return nil
	}
}

// unsplit skips a test in split mode, and says why.
func unsplit(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("PELTON_E2E") == "split" {
		t.Skip("the same in both modes, and run in the other: " + why)
	}
}

// split makes databases and a virtual host for a platform. Each service signs in as itself and may
// do what its part of the topology asks for and nothing else: declare its exchange and its queues,
// emit to its exchange, bind its queues to those of others, and read its queues.
func split(t *testing.T) *harness.Split {
	t.Helper()
	stores := pgtest.Owned(t, "pelton_authorization", "pelton_repository", "pelton_studio", "pelton_runner", "pelton_bridge")
	users := map[string]rabbittest.Permissions{"operator": {Configure: "^$", Write: "^amq[.]default$", Read: "[.]dead$"}}
	for _, service := range append([]string{"watcher"}, harness.Targets...) { // the watcher is a test's own
		own := "^" + service + "[.].*$"
		users[service] = rabbittest.Permissions{Configure: own, Write: "^(" + service + "[.].*|amq[.]default)$", Read: "^(" + service + "[.].*|[a-z]+[.]v1)$"}
	}
	buses, err := rabbittest.Shared(t).Tenant(deadline(t, time.Minute), users)
	require.NoError(t, err)
	return &harness.Split{
		Store: func(service string) string {
			if url := stores["pelton_"+service]; url != "" {
				return url
			}
			return "embedded:" // the builder and the web page have no database
		},
		Bus: func(service string) string { return buses[service] },
	}
}
