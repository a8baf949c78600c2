#!/bin/sh
# Installs what the tests need and the machine lacks: with apt as root, else it names the command and stops.
set -eu
need=
command -v git >/dev/null 2>&1 || need="$need git"
if ! command -v postgres >/dev/null 2>&1 && [ -z "$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null)" ] && [ "$(id -u)" = 0 ]; then need="$need postgresql"; fi
if [ -z "$(ls -d /usr/lib/rabbitmq/lib/rabbitmq_server-* /opt/homebrew/opt/rabbitmq 2>/dev/null)" ]; then need="$need rabbitmq-server"; fi
if ! command -v docker-registry >/dev/null 2>&1; then need="$need docker-registry"; fi
if ! command -v chromium >/dev/null 2>&1 && [ -z "${PELTON_CHROMIUM:-}" ] && [ ! -d "/Applications/Google Chrome.app" ]; then need="$need chromium"; fi
if [ -z "$need" ]; then :
elif [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
  echo "installing with apt:$need"
  apt-get update -qq >/dev/null 2>&1 || true
  DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends $need >/dev/null
else
  echo "the tests need:$need. Install with: sudo apt-get install -y$need   (macOS: brew install$need)" >&2
  exit 1
fi
go run ./platform/tools/testminio
