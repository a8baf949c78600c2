# Base images of the actions, from Debian packages: base/python3, base/nodejs (the machine's own node
# and npm), base/go (its Go, for building) and base/static (accounts and certificates only, for
# programs that need nothing). All know the user 65532, as which actions run.

BASES_VERSION=1
BASES="debian static python3 nodejs go"
: "${PELTON_CLUSTER_DEBIAN_MIRROR:=http://deb.debian.org/debian}"
: "${PELTON_CLUSTER_DEBIAN:=bookworm}"
BASE_PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

bases_up() {
	local b
	for b in $BASES; do step "base image $b" base_image "$b"; done
}

bases_env() { alive registry && echo "export PELTON_CLUSTER_BASES=$REGISTRY/base # /python3:$BASES_VERSION, /nodejs:$BASES_VERSION, /go:$BASES_VERSION, /static:$BASES_VERSION, /debian:$BASES_VERSION"; }

# base_image NAME: make and push it, unless it was made by these very instructions.
base_image() {
	local name=base/$1:$BASES_VERSION key root=$PELTON_CLUSTER_DIR/roots/$1
	key=$(
		{
			declare -f debian_there debian_root root_debian install_packages base_accounts base_layer "root_$1"
			echo "$PELTON_CLUSTER_DEBIAN $PELTON_CLUSTER_DEBIAN_MIRROR"
			case $1 in nodejs) node --version 2>&1; npm --version 2>&1 ;; go) cd "$SRC/pause" && go env GOVERSION ;; esac
		} | sha256sum | cut -c1-16
	)
	if pushed "$name" "$key"; then NOTE="made before"; return; fi
	rm -rf "$root" && mkdir -p "$root" && "root_$1" "$root" || die "making the base image $1 failed"
	base_layer "$root" "$name" "$key" $(base_flags "$1")
	[ "$1" = debian ] || rm -rf "$root"
}

base_flags() {
	case $1 in
	go) echo "-env PATH=/usr/local/go/bin:$BASE_PATH -env GOTOOLCHAIN=local -env CGO_ENABLED=0" ;;
	*) echo "-env PATH=$BASE_PATH" ;;
	esac
}

# base_layer ROOT NAME:TAG KEY FLAGS...: one layer, with owners and modes as they are.
base_layer() {
	local root=$1 tar=$1.tar
	shift
	tar -C "$root" --numeric-owner --exclude=./dev/* --exclude=./proc/* --exclude=./sys/* --exclude=./run/* --exclude=./tmp/* \
		--exclude=./var/cache/apt/* --exclude=./var/lib/apt/lists/* --exclude=./var/log/* \
		--exclude=./usr/share/doc/* --exclude=./usr/share/man/* --exclude=./usr/share/locale/* --exclude=./usr/share/info/* \
		-cf "$tar" . || die "cannot pack $root"
	push "$1" "$2" -layer "$tar" "${@:3}"
	rm -f "$tar"
}

# base_accounts ROOT: root and the user of actions.
base_accounts() {
	mkdir -p "$1/etc" "$1/home/nonroot" && chown 65532:65532 "$1/home/nonroot" || return 1
	[ -s "$1/etc/passwd" ] || printf 'root:x:0:0:root:/root:/bin/sh\n' >"$1/etc/passwd"
	[ -s "$1/etc/group" ] || printf 'root:x:0:\n' >"$1/etc/group"
	grep -q '^nonroot:' "$1/etc/passwd" || echo 'nonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin' >>"$1/etc/passwd"
	grep -q '^nonroot:' "$1/etc/group" || echo 'nonroot:x:65532:' >>"$1/etc/group"
	mkdir -p "$1/tmp" && chmod 1777 "$1/tmp"
}

# root_static: Debian's certificates and time zones, not this machine's own.
root_static() {
	base_accounts "$1" && debian_there && (cd "$PELTON_CLUSTER_DIR/roots/debian" && tar -chf - etc/ssl/certs/ca-certificates.crt usr/share/zoneinfo) | tar -C "$1" -xf - &&
		rm -rf "$1"/usr/share/zoneinfo/{right,posix}
}

root_debian() {
	rmdir "$1"
	debootstrap --variant=minbase --include=ca-certificates "$PELTON_CLUSTER_DEBIAN" "$1" "$PELTON_CLUSTER_DEBIAN_MIRROR" >"$LOG/debootstrap.log" 2>&1 ||
		die "debootstrap failed: $(tail -n 2 "$LOG/debootstrap.log")"
	# As in Debian's own container images: no caches in layers, no daemons started, nothing unasked for.
	cat >"$1/etc/apt/apt.conf.d/docker-clean" <<-'APT'
		DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb /var/cache/apt/archives/partial/*.deb /var/cache/apt/*.bin || true"; };
		APT::Update::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb /var/cache/apt/archives/partial/*.deb /var/cache/apt/*.bin || true"; };
		Dir::Cache::pkgcache "";
		Dir::Cache::srcpkgcache "";
	APT
	printf 'Acquire::Languages "none";\n' >"$1/etc/apt/apt.conf.d/docker-no-languages"
	printf 'Apt::AutoRemove::SuggestsImportant "false";\nAPT::Install-Recommends "false";\n' >"$1/etc/apt/apt.conf.d/docker-few"
	printf '#!/bin/sh\nexit 101\n' >"$1/usr/sbin/policy-rc.d" && chmod 755 "$1/usr/sbin/policy-rc.d"
	base_accounts "$1"
}

# debian_there: the minimal root, which the others begin from.
debian_there() {
	local d=$PELTON_CLUSTER_DIR/roots/debian
	[ -s "$d/usr/sbin/policy-rc.d" ] || { rm -rf "$d" && mkdir -p "$d" && root_debian "$d"; }
}

# debian_root ROOT: a copy of it.
debian_root() { debian_there && rmdir "$1" && cp -a "$PELTON_CLUSTER_DIR/roots/debian" "$1"; }

# install_packages ROOT PACKAGE...: debootstrap's --include does not follow virtual packages, so apt does it.
install_packages() {
	local root=$1 broken
	shift
	cp -L /etc/resolv.conf "$root/etc/resolv.conf"
	chroot "$root" env DEBIAN_FRONTEND=noninteractive sh -c 'apt-get update && apt-get install -y --no-install-recommends "$@" && rm -rf /var/lib/apt/lists/*' apt "$@" >"$LOG/apt-base.log" 2>&1 ||
		die "installing $* into a base image failed: $(grep '^E:' "$LOG/apt-base.log" | head -n 2)"
	: >"$root/etc/resolv.conf"
	broken=$(chroot "$root" dpkg -C) && [ -z "$broken" ] || die "packages of a base image are not configured: $broken"
}

root_python3() { debian_root "$1" && install_packages "$1" python3 python3-pip python3-venv; }

root_nodejs() {
	local node npm
	command -v node >/dev/null && command -v npm >/dev/null || die "Node.js is missing: install node 20 or newer with npm"
	node=$(readlink -f "$(command -v node)") npm=$(dirname "$(dirname "$(readlink -f "$(command -v npm)")")")
	debian_root "$1" && install_packages "$1" libstdc++6 libatomic1 &&
		install -D -m 755 "$node" "$1/usr/bin/node" && mkdir -p "$1/usr/lib/node_modules" && cp -a "$npm" "$1/usr/lib/node_modules/npm" &&
		ln -s ../lib/node_modules/npm/bin/npm-cli.js "$1/usr/bin/npm" && ln -s ../lib/node_modules/npm/bin/npx-cli.js "$1/usr/bin/npx" &&
		chown -R 0:0 "$1/usr/lib/node_modules" && chroot "$1" npm --version >/dev/null || die "node and npm of this machine do not run in a base image"
}

root_go() {
	local go
	go=$(cd "$SRC/pause" && go env GOROOT) && debian_root "$1" && mkdir -p "$1/usr/local/go" &&
		tar -C "$go" -cf - --exclude=./test --exclude=./api --exclude=./doc --exclude='*/testdata' --exclude='*_test.go' . | tar -C "$1/usr/local/go" --no-same-owner -xf - &&
		chroot "$1" env GOROOT=/usr/local/go /usr/local/go/bin/go version >/dev/null || die "Go of this machine does not run in a base image"
}
