#!/bin/sh
# Generated files are what their sources say; contracts only grow and copies match; other platforms compile.
set -eu
generated() { find . \( -name '*.pb.go' -o -name '*.gen.go' -o -path '*/infra/contracts/*.proto' -o -name contracts.lock -o -path '*/contracts/golden/*' -o -path '*/docs/messages.md' \) -not -path './*/node_modules/*' -print0 | sort -z | xargs -0 cksum; }
before=$(generated)
go run ./platform/tools/contracts
go run ./platform/tools/protogen
go run ./platform/tools/messages
go generate ./platform/sdk
after=$(generated)
if [ "$before" != "$after" ]; then
  echo "generated files differ from their sources; commit what 'make verify' just wrote:" >&2
  git status --short >&2
  exit 1
fi
go mod verify >/dev/null
for target in darwin/arm64 linux/arm64; do
  echo "vet $target"
  GOOS=${target%/*} GOARCH=${target#*/} CGO_ENABLED=0 go vet ./...
done
test -z "$(gofmt -l builder eventing functions platform wrapper config 2>/dev/null | grep -v node_modules)" || { echo "gofmt wants changes:"; gofmt -l builder eventing functions platform wrapper config; exit 1; }
