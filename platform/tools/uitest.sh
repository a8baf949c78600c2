#!/bin/sh
# Unit tests of the web page, then the browser tests against a real platform of their own.
set -eu
export PATH="$(pwd)/build/tools/node/bin:$PATH"
command -v npm >/dev/null 2>&1 || { echo "the tests of the web page need Node.js 20.19 or newer (see 'make preflight')" >&2; exit 1; }
[ -d platform/webui/node_modules ] || (cd platform/webui && npm ci --no-audit --no-fund --loglevel=error)
(cd platform/webui && npm run --silent test)
PELTON_BIN="$(pwd)/bin" go run ./platform/tools/uitest
