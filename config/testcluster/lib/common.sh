# Settings, each overridable from the environment, and what all parts use.

: "${PELTON_CLUSTER_DIR:=${HOME:-/root}/.cache/pelton/testcluster}" # all that is written lies here (see also DATA)
: "${PELTON_CLUSTER_NAME:=testcluster}"      # of the node, the control groups and the firewall table
: "${PELTON_CLUSTER_NODE_IP:=10.90.0.1}"     # on the loopback interface, never the uplink's
: "${PELTON_CLUSTER_POD_CIDR:=10.88.0.0/16}"
: "${PELTON_CLUSTER_POD_NET:=10.88.0.0/24}"  # this node's slice of it
: "${PELTON_CLUSTER_POD_GW:=10.88.0.1}"
: "${PELTON_CLUSTER_SVC_CIDR:=10.89.0.0/16}"
: "${PELTON_CLUSTER_BRIDGE:=pelton0}"
: "${PELTON_CLUSTER_API_PORT:=6443}"
: "${PELTON_CLUSTER_ETCD_PORT:=12379}"       # and the next one, on 127.0.0.1
: "${PELTON_CLUSTER_REGISTRY_PORT:=5000}"
: "${PELTON_CLUSTER_INGRESS_PORT:=30080}"    # a node port
: "${PELTON_CLUSTER_DOMAIN:=example.com}"    # of public services: NAME.NAMESPACE.DOMAIN
: "${PELTON_CLUSTER_STABLE_WINDOW:=60s}"     # Knative's defaults
: "${PELTON_CLUSTER_SCALE_GRACE:=30s}"
: "${PELTON_CLUSTER_POSTGRES_PORT:=5432}"
: "${PELTON_CLUSTER_RABBITMQ_PORT:=5672}"
: "${PELTON_CLUSTER_RABBITMQ_API_PORT:=15672}" # of its management plugin, where the part rabbitmqbroker is up
: "${PELTON_CLUSTER_MINIO_PORT:=9000}"
: "${PELTON_CLUSTER_PROXY_PORT:=3128}"
: "${PELTON_CLUSTER_PROXY_HOSTS:=}"          # further hosts that pods may reach through the proxy, comma separated
: "${PELTON_CLUSTER_NICE:=5}"                # of builds
: "${PELTON_CLUSTER_GO_P:=2}"                # parallel compilations; each link of Kubernetes takes 2.4 GB

K8S_VERSION=v1.36.3
CONTAINERD_VERSION=v2.4.2
SERVING_VERSION=v0.48.0
EVENTING_VERSION=v0.47.0
TRAEFIK_VERSION=v3.7.13
RABBITMQBROKER_VERSION=v0.34.0
TOPOLOGY_VERSION=v1.14.2

PROJECT=$(cd "$HERE/../.." && pwd)
SRC=$HERE/src
BIN=$PELTON_CLUSTER_DIR/bin LOG=$PELTON_CLUSTER_DIR/log RUN=$PELTON_CLUSTER_DIR/run STATE=$PELTON_CLUSTER_DIR/state
PKI=$PELTON_CLUSTER_DIR/pki CONF=$PELTON_CLUSTER_DIR/conf IMAGES=$PELTON_CLUSTER_DIR/registry SECRETS=$PELTON_CLUSTER_DIR/secrets
REGISTRY=$PELTON_CLUSTER_NODE_IP:$PELTON_CLUSTER_REGISTRY_PORT
INGRESS=$PELTON_CLUSTER_NODE_IP:$PELTON_CLUSTER_INGRESS_PORT
API=https://$PELTON_CLUSTER_NODE_IP:$PELTON_CLUSTER_API_PORT
ADMIN=$CONF/admin.kubeconfig
CRI_SOCK=$RUN/containerd.sock

log() { printf '%s cluster: %s\n' "$(date +%H:%M:%S)" "$*" >&2; }
die() { log "ERROR: $*"; exit 1; }
kc() { "$(program kube kube)" kubectl --kubeconfig "$ADMIN" "$@"; }

lay_folders() { mkdir -p "$BIN" "$LOG" "$RUN" "$STATE" "$CONF" "$IMAGES" "$SECRETS" && chmod 700 "$SECRETS" || die "cannot write $PELTON_CLUSTER_DIR: choose another folder with PELTON_CLUSTER_DIR"; }

# locked: one command at a time changes the cluster. The lock also marks the folder as the cluster's:
# 'down' removes folders like log, run and conf in it, which elsewhere are somebody else's.
locked() {
	[ -e "$PELTON_CLUSTER_DIR/lock" ] || [ -z "$(ls -A "$PELTON_CLUSTER_DIR" 2>/dev/null)" ] || die "$PELTON_CLUSTER_DIR holds other things: choose an empty folder, or a new one, with PELTON_CLUSTER_DIR"
	mkdir -p "$PELTON_CLUSTER_DIR" && exec 9>"$PELTON_CLUSTER_DIR/lock" || die "cannot write $PELTON_CLUSTER_DIR: choose another folder with PELTON_CLUSTER_DIR"
	flock -n 9 && return
	log "another command works on this cluster: waiting for its end"
	flock -w 3600 9 || die "another command works on this cluster since an hour"
}

# step WHAT CMD...: run CMD and print one line with the time that it took.
step() {
	local t0=${EPOCHREALTIME/[.,]/} what=$1 tenths
	shift
	NOTE=
	"$@" || die "$what failed"
	tenths=$(((${EPOCHREALTIME/[.,]/} - t0) / 100000))
	printf '%s cluster: %-34s %4d.%d s%s\n' "$(date +%H:%M:%S)" "$what" $((tenths / 10)) $((tenths % 10)) "${NOTE:+  ($NOTE)}" >&2
}

# alive NAME: is the process of NAME's pid file still the one that was started?
alive() {
	local f=$RUN/$1.pid pid
	[ -s "$f" ] || return 1
	pid=$(cat "$f")
	grep -qzx "PELTON_CLUSTER_PART=$1" "/proc/$pid/environ" 2>/dev/null
}

# spawn NAME CMD...: start a daemon in a session of its own, unless it is up.
spawn() {
	local name=$1
	shift
	alive "$name" && return
	PELTON_CLUSTER_PART=$name setsid nohup "$@" >>"$LOG/$name.log" 2>&1 </dev/null 9>&- &
	echo $! >"$RUN/$name.pid"
}

# stop NAME [SECONDS]: TERM, wait, then KILL; only the recorded process.
stop() {
	local pid i
	if ! alive "$1"; then rm -f "$RUN/$1.pid"; return 0; fi
	pid=$(cat "$RUN/$1.pid")
	kill "$pid" 2>/dev/null
	for ((i = 0; i < ${2:-10} * 10; i++)); do alive "$1" || break; sleep 0.1; done
	alive "$1" && kill -9 "$pid" 2>/dev/null
	rm -f "$RUN/$1.pid"
}

# put FILE: write standard input there, but leave a file that already reads so alone
# (kube-proxy ends itself whenever its configuration file is written to).
put() {
	cat >"$1.new" || die "cannot write $1"
	if cmp -s "$1.new" "$1"; then rm -f "$1.new"; else mv "$1.new" "$1"; fi
}

# wait_for SECONDS WHAT CMD...: poll until CMD succeeds. NAME of a daemon in WAIT_ON: give up once it has ended.
wait_for() {
	local end=$((SECONDS + $1)) what=$2 said
	shift 2
	until said=$("$@" 2>&1); do
		[ ${#said} -le 300 ] || said="…${said: -300}"
		[ $SECONDS -lt $end ] || die "gave up waiting for $what: ${said:-no answer to: $*}; the logs are in $LOG"
		[ -z "${WAIT_ON:-}" ] || [ -d "/proc/$(cat "$RUN/$WAIT_ON.pid")" ] || die "$WAIT_ON has ended: $(tail -n 3 "$LOG/$WAIT_ON.log")" # not 'alive', which a process is only once it is the program
		sleep 0.3
	done
}

# secret NAME: a password of this cluster, made once, in a file for its owner alone.
secret() {
	[ -s "$SECRETS/$1" ] || (umask 077 && openssl rand -hex 24 >"$SECRETS/$1") || die "cannot write $SECRETS/$1"
	cat "$SECRETS/$1"
}
