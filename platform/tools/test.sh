#!/bin/sh
# Runs everything that proves the platform, part by part, each with its time; stops at the first failure.
set -eu
export PATH="$(pwd)/build/tools/node/bin:$PATH"
started=$(date +%s)
part() {
  name=$1; shift
  t=$(date +%s)
  echo "== $name"
  if "$@"; then echo "== $name: ok in $(( $(date +%s) - t )) s"
  else code=$?; echo "== $name: FAILED after $(( $(date +%s) - t )) s"; exit $code; fi
}
tests() { go run ./platform/tools/testpg -- go run ./platform/tools/gotest "$@"; }
units() { tests -timeout 20m $(go list ./... | grep -v '/platform/e2e$'); } # without those of both

# The end-to-end tests, as one process and as a process for each service on PostgreSQL, RabbitMQ and MinIO, side by
# side: they wait for most of their time. What the second prints is shown once the first has ended.
both() {
  mkdir -p build
  ( PELTON_E2E=split PELTON_E2E_FILES=s3 tests -count=1 -timeout 50m ./platform/e2e ) >build/e2e-split.log 2>&1 &
  split=$!
  trap 'kill $split 2>/dev/null || :' EXIT
  code=0
  tests -count=1 -timeout 50m ./platform/e2e || code=$?
  echo "== end to end, a process for each service"
  wait $split || code=$?
  trap - EXIT
  cat build/e2e-split.log
  return $code
}

part tools sh platform/tools/testtools.sh
export PATH="$(pwd)/build/tools/node/bin:$PATH"
part build make --no-print-directory build
export PELTON_BIN="$(pwd)/bin"
part go units
part 'end to end' both
part page sh platform/tools/uitest.sh
part demo make --no-print-directory demo
part verify make --no-print-directory verify
part lint make --no-print-directory lint
echo "== all ok in $(( $(date +%s) - started )) s"
