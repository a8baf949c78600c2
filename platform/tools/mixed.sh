#!/bin/sh
# The end-to-end tests of split services while versions follow one another: first the runner is of this tree and
# the other services of another commit, then the other way round. Usage: mixed.sh COMMIT; what runs: PELTON_MIXED_RUN.
set -eu
old=$(git rev-parse --verify --quiet "${1:?give the commit of the other version, such as HEAD~20}^{commit}") || { echo "there is no commit $1" >&2; exit 2; }
dir=$(pwd)/build/mixed
run=${PELTON_MIXED_RUN:-'^(TestHello|TestGraph|TestHistory|TestDeadLetters|TestEventTriggers|TestWebhooks|TestEverythingIsStillThere)$'}
mkdir -p "$dir"
git worktree prune
[ -d "$dir/tree" ] || git worktree add --quiet --detach "$dir/tree" "$old"
trap 'git worktree remove --force "$dir/tree"' EXIT
git -C "$dir/tree" checkout --quiet "$old"
# The page is not what this is about: what is built already serves for both.
mkdir -p "$dir/tree/platform/webui/dist" && cp -R platform/webui/dist/. "$dir/tree/platform/webui/dist/"
(cd "$dir/tree" && CGO_ENABLED=0 go build -o "$dir/old/" ./platform/cmd/peltond ./wrapper/cmd/wrapper)
for runner in new old; do
  bin=$dir/runner-$runner
  mkdir -p "$bin"
  cp bin/pelton "$bin/"
  [ $runner = new ] && mine=bin other=build/mixed/old || { mine=build/mixed/old; other=bin; }
  cat >"$bin/peltond" <<PROGRAM
#!/bin/sh
case " \$* " in
*" --target runner "*) exec "$(pwd)/$mine/peltond" "\$@" ;;
*) exec "$(pwd)/$other/peltond" "\$@" ;;
esac
PROGRAM
  chmod +x "$bin/peltond"
  echo "== the runner is $runner, the other services are not"
  PELTON_E2E=split PELTON_BIN=$bin go run ./platform/tools/testpg -- go run ./platform/tools/gotest -count=1 -timeout 20m -run "$run" ./platform/e2e
done
