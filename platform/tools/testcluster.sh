#!/bin/sh
# Runs what needs a cluster, on that of config/testcluster, part by part, each with its time; a part that
# fails does not keep the next from running. The cluster is brought up where it is not, and stays up.
# Usage: testcluster.sh [PART...]; parts: programs smoke kaniko knative platform install brokers events rabbitmqbroker (default: all).
# PELTON_CLUSTER_RUN is what `go test -run` takes. What tests print is kept in build/testcluster.
set -eu
out=build/testcluster
run=${PELTON_CLUSTER_RUN:-^TestCluster}
cluster() { config/testcluster/cluster "$@"; }
all="programs smoke kaniko knative platform install brokers events rabbitmqbroker"
# End-to-end tests that say the same of actions as local processes and as pods. The others either have nothing to do with how
# actions run, or look into folders and processes of this machine, which pods have not.
scripts=TestClusterPlatform,TestClusterPrivateRegistry,TestClusterPrivateRegistryJobs,TestHello,TestGraph,TestPatterns,TestHistory,TestTrace,TestTraffic,TestCompat
scripts=$scripts,TestSource,TestSourceLanguages,TestSourceSettings,TestEventTriggers,TestWebhooks,TestCloudEventsIn,TestDeadLetters,TestBackfill,TestScheduleCatchUp
scripts=$scripts,TestBuildsWithDependencies,TestBuildFailures,TestAuthorsFirstSteps,TestMisbehaviour,TestLongLog,TestPausedWorkflow,TestManyRuns
scripts=$scripts,TestSharedLimits,TestRunDebug,TestRetention,TestBackup,TestEverythingIsStillThere
scripts=$scripts,TestKilledInTheMiddle,TestCrash,TestDatabaseKilled,TestChaos,TestReplicas,TestReplicasKeepSources
scripts="^($(echo "$scripts" | tr , '|'))\$"
for part in "$@"; do
  case " $all " in *" $part "*) ;; *) echo "unknown part '$part'; parts are: $all" >&2; exit 2 ;; esac
done
mkdir -p "$out"
summary=
failed=0
started=$(date +%s)

# part NAME CMD...: a test's own lines and figures are shown, of one that fails all that it printed.
part() {
  name=$1; shift
  t=$(date +%s)
  echo "== $name"
  if "$@" >"$out/$name.log" 2>&1; then said=ok; else said=FAILED; failed=1; fi
  if [ $said = ok ]; then
    grep -E '^ *--- |^ok |cluster.*_test\.go:[0-9]+: (cold start|warm|phases|code alone|unchanged|callable|found and ended|a Job|all ended|outcomes|the first event|[0-9]+ events|figure)' "$out/$name.log" || :
  else
    tail -n 200 "$out/$name.log"
  fi
  took=$(( $(date +%s) - t ))
  echo "== $name: $said in $took s ($out/$name.log)"
  summary="$summary$(printf '  %-14s %-7s %5d s' "$name" $said $took)
"
}
tests() { go test -count=1 -v -timeout "$1" -run "$run" "$2"; }

# The platform in the cluster itself, which makes its databases and its part of the broker; the bucket is there.
installation() (
  cluster tenant inst >/dev/null && cluster tenant -d inst && settings=$(cluster tenant inst) || return
  eval "$settings"
  tests 60m ./platform/adm
)

# Brokers of the class over RabbitMQ, which 'cluster up' alone does not bring up.
rabbitmqbroker() (
  cluster up rabbitmqbroker && settings=$(cluster env) || return
  eval "$settings"
  go test -count=1 -v -timeout 15m -run "${PELTON_CLUSTER_RUN:-^TestClusterBrokerRabbitMQ}" ./eventing/bridge/internal/infra/knativebroker
)

cluster up
settings=$(cluster env)
eval "$settings"
unset PELTON_CLUSTER_RABBITMQBROKER # the part brokers leaves them to the part rabbitmqbroker
make --no-print-directory build
export PELTON_BIN="$(pwd)/bin"
go run ./platform/tools/image -insecure -push "$PELTON_CLUSTER_REGISTRY/pelton/pelton:test" >"$out/image"
PELTON_CLUSTER_EXECUTOR=$(tail -n 1 "$out/image")
export PELTON_CLUSTER_EXECUTOR
echo "== the cluster, the programs and the image $PELTON_CLUSTER_EXECUTOR are there after $(( $(date +%s) - started )) s"
for p in ${*:-$all}; do
  case $p in
  programs) part programs make --no-print-directory cluster-check ;;
  smoke) part smoke config/testcluster/cluster smoke ;;
  kaniko) part kaniko tests 30m ./builder/internal/infra/kaniko ;;
  knative) part knative tests 40m ./platform/runner/internal/infra/knative ;;
  platform) part platform env PELTON_E2E=cluster go test -count=1 -v -timeout 70m -run "${PELTON_CLUSTER_RUN:-$scripts}" ./platform/e2e ;;
  install) part install installation ;;
  brokers) part brokers tests 10m ./eventing/bridge/internal/infra/knativebroker ;;
  events) part events go test -count=1 -v -timeout 40m -run "${PELTON_CLUSTER_RUN:-^TestClusterEvents}" ./platform/e2e ;; # it makes its own settings
  rabbitmqbroker) part rabbitmqbroker rabbitmqbroker ;;
  esac
done
printf '== the cluster stays up (make cluster-down); %d s in all\n%s' $(( $(date +%s) - started )) "$summary"
exit $failed
