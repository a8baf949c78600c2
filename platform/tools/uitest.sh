#!/bin/sh
# The web page's tests: formatting and types, units, then in a real browser against a real platform.
# Screenshots of every page are kept in build/screenshots.
set -eu
cd platform/webui
out=$(mktemp -d)
OUT="$out" npm run --silent generate
diff -r "$out" src/api/generated || { echo "src/api/generated is not what the OpenAPI documents give: run npm run generate in platform/webui" >&2; exit 1; }
rm -rf "$out"
npm run --silent check
npx --no-install vitest run --reporter=dot
node --test --test-reporter=spec browser/page.test.mjs
