#!/bin/sh
# Runs what needs a cluster, on that of config/testcluster, part by part, each with its time; a part that
# fails does not keep the next from running. The cluster is brought up where it is not, and stays up.
# Usage: testcluster.sh [PART...]; parts: programs kaniko knative platform install (default: all).
# PELTON_CLUSTER_RUN is what `go test -run` takes. What tests print is kept in build/testcluster.
set -eu
out=build/testcluster
run=${PELTON_CLUSTER_RUN:-^TestCluster}
cluster() { config/testcluster/cluster "$@"; }
all="programs kaniko knative platform install"
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
  summary="$summary$(printf '  %-10s %-7s %5d s' "$name" $said $took)
"
}
tests() { go test -count=1 -v -timeout "$1" -run "$run" "$2"; }

# The platform on this machine, its actions and builds in the cluster; of an earlier time nothing is there.
platform() (
  gateway=$(cluster kubectl -n ingress get service traefik-private -o 'jsonpath={.spec.clusterIP}') || return
  cluster kubectl delete namespace e2e-default e2e-builds --ignore-not-found --timeout=180s && cluster tenant -d e2e || return
  settings=$(cluster tenant e2e) || return
  eval "$settings"
  export PELTON_DEPLOYER="knative:?namespace=e2e-{project}&kubeconfig=$PELTON_CLUSTER_KUBECONFIG&gateway=$gateway:80&platform-networks=$PELTON_CLUSTER_NODE_IP/32&window=6s"
  export PELTON_BUILDER_BACKEND=kaniko: PELTON_BUILDER_KUBECONFIG="$PELTON_CLUSTER_KUBECONFIG" PELTON_BUILDER_NAMESPACE=e2e-builds PELTON_BUILDER_EXECUTOR="$PELTON_CLUSTER_EXECUTOR" \
    PELTON_BUILDER_REGISTRY="$PELTON_CLUSTER_REGISTRY/e2e-$started" PELTON_BUILDER_REGISTRY_INSECURE="$PELTON_CLUSTER_REGISTRY" \
    PELTON_BUILDER_IMAGES_PYTHON3="$PELTON_CLUSTER_BASES/python3:1" PELTON_BUILDER_IMAGES_NODEJS="$PELTON_CLUSTER_BASES/nodejs:1" \
    PELTON_BUILDER_IMAGES_GO="$PELTON_CLUSTER_BASES/static:1" PELTON_BUILDER_IMAGES_GO_BUILD="$PELTON_CLUSTER_BASES/go:1" \
    PELTON_BUILDER_PROXY="$PELTON_CLUSTER_PROXY" PELTON_BUILDER_NO_PROXY="$PELTON_CLUSTER_NODE_IP" PELTON_BUILDER_BUILD_ENV="$PELTON_CLUSTER_BUILDENV"
  tests 20m ./platform/e2e
)

# The platform in the cluster itself. A restored installation has a broker of its own.
installation() (
  for name in instagain inst; do
    cluster tenant "$name" >/dev/null && cluster tenant -d "$name" && settings=$(cluster tenant "$name") || return
    eval "$settings"
    [ "$name" = inst ] || export PELTON_BUS_AGAIN="$PELTON_BUS"
  done
  tests 60m ./platform/adm
)

cluster up
settings=$(cluster env)
eval "$settings"
make --no-print-directory build
export PELTON_BIN="$(pwd)/bin"
go run ./platform/tools/image -insecure -push "$PELTON_CLUSTER_REGISTRY/pelton/pelton:test" >"$out/image"
PELTON_CLUSTER_EXECUTOR=$(tail -n 1 "$out/image")
export PELTON_CLUSTER_EXECUTOR
echo "== the cluster, the programs and the image $PELTON_CLUSTER_EXECUTOR are there after $(( $(date +%s) - started )) s"
for p in ${*:-$all}; do
  case $p in
  programs) part programs make --no-print-directory cluster-check ;;
  kaniko) part kaniko tests 30m ./builder/internal/infra/kaniko ;;
  knative) part knative tests 40m ./platform/runner/internal/infra/knative ;;
  platform) part platform platform ;;
  install) part install installation ;;
  esac
done
printf '== the cluster stays up (make cluster-down); %d s in all\n%s' $(( $(date +%s) - started )) "$summary"
exit $failed
