#!/bin/sh
# The web page's tests: formatting and types, units, then in a real browser against a real platform.
# Screenshots of every page are kept in build/screenshots.
set -eu
cd platform/webui
npm run --silent check
npx --no-install vitest run --reporter=dot
node --test --test-reporter=spec browser/page.test.mjs
