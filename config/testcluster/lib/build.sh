# Building everything from the Go module proxy. Each group is a Go module of its own under src/,
# because their dependencies' versions do not agree with each other. What is built lies in
# bin/GROUP-DIGEST, the digest being of its sources, so that a group is built once;
# bin/current/GROUP leads to the newest.

PACKAGES="nftables conntrack runc containernetworking-plugins iproute2 procps openssl dnsutils docker-registry debootstrap curl util-linux ca-certificates postgresql rabbitmq-server"
GROUPS_ALL="small kube policy containerd edge serving eventing"
declare -A SOURCES=([small]="img pause demo proxy" [kube]=kube [policy]=policy [containerd]=containerd [edge]=edge [serving]=knative [eventing]=knative [rabbitmqbroker]=rabbitmq)

# deps installs what is missing. Services of the packages are not started.
deps() {
	local p missing=() policy=/usr/sbin/policy-rc.d
	for p in $PACKAGES; do
		[ "$(dpkg-query -W -f '${Status}' "$p" 2>/dev/null)" = "install ok installed" ] || missing+=("$p")
	done
	if [ ${#missing[@]} -gt 0 ]; then
		NOTE=${missing[*]}
		# As in a container's base image: an installation starts no daemon.
		[ -e $policy ] || { printf '#!/bin/sh\nexit 101\n' >$policy && chmod 755 $policy && trap 'rm -f /usr/sbin/policy-rc.d' EXIT; }
		apt-get -o DPkg::Lock::Timeout=600 update >"$LOG/apt.log" 2>&1 &&
			DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600 install -y --no-install-recommends "${missing[@]}" >>"$LOG/apt.log" 2>&1 ||
			die "apt-get could not install ${missing[*]}: $(grep '^E:' "$LOG/apt.log" | head -3) (see $LOG/apt.log)"
	fi
	[ -x /usr/lib/cni/bridge ] || die "the CNI plugins are not in /usr/lib/cni: reinstall containernetworking-plugins"
	preflight_network
}

# build_for PART...: the groups that these parts of the cluster need.
build_for() {
	local groups=small
	case " $* " in *" kubernetes "*) groups+=" kube policy containerd edge" ;; esac
	case " $* " in *" serving "*) groups+=" serving" ;; esac
	case " $* " in *" eventing "*) groups+=" eventing" ;; esac
	case " $* " in *" rabbitmqbroker "*) groups+=" rabbitmqbroker" ;; esac
	build $groups
}

build() {
	local g
	for g in ${*:-$GROUPS_ALL}; do
		[ -n "${SOURCES[$g]:-}" ] || die "unknown group '$g'; groups are: $GROUPS_ALL rabbitmqbroker"
	done
	for g in ${*:-$GROUPS_ALL}; do
		step "build $g" build_group "$g"
	done
}

build_group() {
	local g=$1 to cpu
	to=$BIN/$g-$(digest "$g") || die "cannot tell the digest of $g"
	if [ -d "$to" ]; then
		NOTE="built before"
	else
		OUT=$to.part
		cpu=$(cpu_seconds)
		rm -rf "$OUT" && mkdir -p "$OUT" && "build_$g" && mv "$OUT" "$to" || die "building $g failed"
		NOTE="$(($(cpu_seconds) - cpu)) s of processor time"
	fi
	mkdir -p "$BIN/current" && ln -sfn "$to" "$BIN/current/$g"
}

# cpu_seconds: what ended children of this shell have used (fields 16 and 17, in ticks).
cpu_seconds() { awk -v hz="$(getconf CLK_TCK)" '{sub(/.*\) /, ""); print int(($14 + $15) / hz)}' "/proc/$$/stat"; }

# digest GROUP: of its files, the Go release and the instructions that build it.
digest() {
	{
		(cd "$SRC/pause" && go env GOVERSION GOARCH) || return 1
		declare -f "build_$1" gobuild lay_edge
		echo "$K8S_VERSION $CONTAINERD_VERSION $TRAEFIK_VERSION"
		(cd "$SRC" && find ${SOURCES[$1]} -type f -print0 | sort -z | xargs -0 sha256sum)
	} | sha256sum | cut -c1-16
}

# program GROUP NAME: its path; an error says what to run first.
program() {
	[ -x "$BIN/current/$1/$2" ] || die "the program $2 is not built: run 'make cluster-up' first"
	echo "$BIN/current/$1/$2"
}

# gobuild GROUP FOLDER OUT LDFLAGS TAGS PACKAGE...: OUT, below $OUT, ends in / for several programs.
gobuild() {
	local group=$1 d=$2 out=$3 ld=$4 tags=$5
	shift 5
	case $out in */) mkdir -p "$OUT/$out" ;; esac
	(
		cd "$d" || exit 1
		export CGO_ENABLED=0 GOWORK=off GOFLAGS="${GOFLAGS:-} -mod=readonly -buildvcs=false"
		nice -n "$PELTON_CLUSTER_NICE" go build -p "$PELTON_CLUSTER_GO_P" -trimpath -tags "$tags" -ldflags "-s -w $ld" -o "$OUT/$out" "$@"
	) >>"$LOG/build-$group.log" 2>&1 || die "building $group failed: $(grep -v '^go: downloading' "$LOG/build-$group.log" | tail -5)"
}

build_small() {
	gobuild small "$SRC/img" img "" "" .
	gobuild small "$SRC/pause" pause "" "" .
	gobuild small "$SRC/proxy" proxy "" "" .
	gobuild small "$SRC/demo" demo/ "" "" ./server ./client
}

build_kube() {
	local v=k8s.io/component-base/version minor=${K8S_VERSION#v1.}
	gobuild kube "$SRC/kube" kube "-X $v.gitVersion=$K8S_VERSION -X $v.gitMajor=1 -X $v.gitMinor=${minor%%.*} -X $v.gitTreeState=clean -X $v.gitCommit=testcluster -X $v.buildDate=2026-01-01T00:00:00Z" "" .
}

build_policy() { gobuild policy "$SRC/policy" policy "" "" .; }

build_containerd() {
	local p=github.com/containerd/containerd/v2
	gobuild containerd "$SRC/containerd" ./ "-X $p/version.Version=$CONTAINERD_VERSION" "no_btrfs no_zfs no_devmapper" \
		$p/cmd/containerd $p/cmd/containerd-shim-runc-v2 $p/cmd/ctr
}

# Traefik's ACME code links every DNS provider that lego knows, some 190 vendors' SDKs, and one of
# them cannot be had. So it is built against lego as served with that one folder replaced by a
# stub. (go build's -overlay refuses files of the module cache.)
lay_edge() {
	local d=$PELTON_CLUSTER_DIR/edge to=$PELTON_CLUSTER_DIR/edge/lego v=v5.4.1 from
	rm -rf "$d" && mkdir -p "$d" && cp -r "$SRC"/edge/. "$d/" || die "cannot write $d"
	from=$(cd / && go mod download -json github.com/go-acme/lego/v5@$v | sed -n 's/^\s*"Dir": "\(.*\)",/\1/p')
	[ -d "$from" ] || die "cannot get lego $v"
	mkdir -p "$to" && (cd "$from" && tar cf - --exclude=./providers/dns .) | tar xf - -C "$to" || die "cannot copy lego"
	chmod -R u+w "$to"
	mkdir -p "$to/providers/dns" && cp "$SRC/edge/stub-lego-dns/dns.go.txt" "$to/providers/dns/dns.go"
}

build_edge() {
	lay_edge
	gobuild edge "$PELTON_CLUSTER_DIR/edge" ./ "-X github.com/traefik/traefik/v3/pkg/version.Version=$TRAEFIK_VERSION" "" ./dns github.com/traefik/traefik/v3/cmd/traefik
	rm -rf "$PELTON_CLUSTER_DIR/edge"
}

build_serving() {
	local p=knative.dev/serving/cmd
	gobuild serving "$SRC/knative" ./ "" "" $p/activator $p/autoscaler $p/controller $p/queue $p/webhook
}

build_eventing() {
	local p=knative.dev/eventing/cmd
	gobuild eventing "$SRC/knative" ./ "" "" $p/controller $p/webhook $p/mtchannel_broker $p/jobsink $p/mtping
	gobuild eventing "$SRC/knative" broker/ "" "" $p/broker/filter $p/broker/ingress
	gobuild eventing "$SRC/knative" in_memory/ "" "" $p/in_memory/channel_controller $p/in_memory/channel_dispatcher
}

build_rabbitmqbroker() {
	local p=knative.dev/eventing-rabbitmq/cmd
	gobuild rabbitmqbroker "$SRC/rabbitmq/broker" controller/ "" "" $p/controller/broker
	gobuild rabbitmqbroker "$SRC/rabbitmq/broker" ./ "" "" $p/dispatcher $p/ingress
	gobuild rabbitmqbroker "$SRC/rabbitmq/topology" ./ "" "" github.com/rabbitmq/messaging-topology-operator
}
