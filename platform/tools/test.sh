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
part tools sh platform/tools/testtools.sh
export PATH="$(pwd)/build/tools/node/bin:$PATH"
part build make --no-print-directory build
export PELTON_BIN="$(pwd)/bin"
part go go run ./platform/tools/testpg -- go run ./platform/tools/gotest -timeout 40m ./...
# As a process for each service, files in a bucket: what crosses most services. `make e2e-split` runs all.
part split env PELTON_E2E=split PELTON_E2E_FILES=s3 go run ./platform/tools/testpg -- go run ./platform/tools/gotest -count=1 -timeout 10m \
  -run '^(TestEveryOperation|TestGraph|TestHistory|TestDeadLetters|TestEverythingIsStillThere)$' ./platform/e2e
part page sh platform/tools/uitest.sh
part demo make --no-print-directory demo
part verify make --no-print-directory verify
part lint make --no-print-directory lint
echo "== all ok in $(( $(date +%s) - started )) s"
