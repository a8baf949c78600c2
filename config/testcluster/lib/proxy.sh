# The way out for builds: a proxy on the node that leads to package hosts only, and what a builder
# mounts into its pods so that npm, pip, Go and apt use it (folder buildenv). Both are made from this
# machine's own settings each time, so that a private mirror or certificate authority serves pods too.

BUILDENV=$CONF/buildenv
PROXY=http://$PELTON_CLUSTER_NODE_IP:$PELTON_CLUSTER_PROXY_PORT
BUILDENV_MOUNT=/kaniko/buildenv # where the files expect ca.crt to be mounted

proxy_up() { step "proxy to package hosts" proxy_start; }

proxy_start() {
	NPM_REGISTRY=$(npm_registry)
	pip_setting index-url >/dev/null
	buildenv
	{
		cat "$HERE/conf/hosts"
		for h in ${PELTON_CLUSTER_PROXY_HOSTS//,/ }; do echo "$h private"; done
		machine_hosts
	} >"$CONF/proxy.hosts.new"
	cmp -s "$CONF/proxy.hosts.new" "$CONF/proxy.hosts" || stop proxy # it reads them when it starts
	mv "$CONF/proxy.hosts.new" "$CONF/proxy.hosts"
	spawn proxy "$(readlink -f "$BIN/current/small")/proxy" "$PELTON_CLUSTER_NODE_IP:$PELTON_CLUSTER_PROXY_PORT" "$CONF/proxy.hosts"
	WAIT_ON=proxy wait_for 10 "the proxy" bash -c "exec 3<>/dev/tcp/$PELTON_CLUSTER_NODE_IP/$PELTON_CLUSTER_PROXY_PORT"
}

npm_registry() { command -v npm >/dev/null && (cd / && npm config get registry 2>/dev/null); }
# pip_setting NAME: of pip's files or, before these, its environment; asked for once.
pip_setting() {
	[ -n "${PIP_SETTINGS+set}" ] || { command -v pip3 >/dev/null && PIP_SETTINGS=$(cd / && pip3 config list 2>/dev/null); PIP_SETTINGS=${PIP_SETTINGS:-}; }
	sed -nE "s/^(global|:env:)\\.$1='(.*)'\$/\\2/p" <<<"$PIP_SETTINGS" | tail -n 1
}
go_proxy() { (cd "$SRC/pause" && go env GOPROXY); }

# machine_hosts: those that this machine's package managers are set to; they may have private addresses.
machine_hosts() {
	{
		echo "$NPM_REGISTRY"
		pip_setting index-url
		pip_setting extra-index-url
		go_proxy | tr ',|' '\n\n'
		echo "$PELTON_CLUSTER_DEBIAN_MIRROR" # what base images install from
		sed -n 's/^\s*\(deb\|URIs:\)\s.*\(https\?:[^ ]*\).*/\2/p' /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null
	} | sed -nE 's#^https?://([^/@]*@)?([^/:]+).*#\2 private#p' | sort -u
}

# ca_bundle: the certificates that this machine trusts.
ca_bundle() {
	local f
	for f in "${SSL_CERT_FILE:-}" /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt; do
		[ -s "$f" ] && echo "$f" && return
	done
	die "no bundle of CA certificates is on this machine: install ca-certificates"
}

buildenv() {
	local v ca set
	ca=$(ca_bundle) || exit 1
	mkdir -p "$BUILDENV" || die "cannot write $BUILDENV"
	put "$BUILDENV/ca.crt" <"$ca"
	{
		echo "cafile=$BUILDENV_MOUNT/ca.crt"
		echo "registry=${NPM_REGISTRY:-https://registry.npmjs.org/}"
		printf 'proxy=%s\nhttps-proxy=%s\nupdate-notifier=false\naudit=false\nfund=false\n' "$PROXY" "$PROXY"
	} | put "$BUILDENV/npmrc"
	{
		printf '[global]\ncert = %s\nproxy = %s\ndisable-pip-version-check = true\n' "$BUILDENV_MOUNT/ca.crt" "$PROXY"
		for v in index-url extra-index-url trusted-host; do
			set=$(pip_setting $v)
			[ -z "$set" ] || echo "$v = $set"
		done
	} | put "$BUILDENV/pip.conf"
	printf 'Acquire::http::Proxy "%s";\nAcquire::https::Proxy "%s";\n' "$PROXY" "$PROXY" | put "$BUILDENV/apt.conf"
	(cd "$SRC/pause" && for v in GOPROXY GOSUMDB GONOSUMDB GONOPROXY GOPRIVATE GOINSECURE; do printf '%s=%s\n' $v "$(go env $v)"; done) | grep -v '=$' | put "$BUILDENV/go.env"
	printf 'HTTP_PROXY=%s\nHTTPS_PROXY=%s\nNO_PROXY=%s\n' "$PROXY" "$PROXY" "$PELTON_CLUSTER_NODE_IP,.cluster.local,.svc,localhost,127.0.0.1" | put "$BUILDENV/proxy.env"
}

proxy_env() {
	alive proxy || return 0
	printf 'export PELTON_CLUSTER_PROXY=%s\nexport PELTON_CLUSTER_BUILDENV=%s\n' "$PROXY" "$BUILDENV"
}
