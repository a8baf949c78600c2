# Undoing it all: containers, processes, mounts, control groups, network, data and credentials. What
# was built and the cluster's own images stay, so that the next 'up' is quick; --purge removes these too.

down() {
	case ${1:-} in '' | --purge) ;; *) die "unknown option '$1': cluster down [--purge]" ;; esac
	step "stop the control plane" stop_control
	step "stop containers" stop_containers
	step "stop the servers" stop_servers
	step "remove others' images" prune_registry
	step "undo mounts and network" undo
	if [ "${1:-}" = --purge ]; then
		rm -rf "$PELTON_CLUSTER_DIR"
		log "down; removed $PELTON_CLUSTER_DIR"
	else
		log "down; kept: $BIN, $IMAGES"
	fi
}

stop_control() {
	local n
	for n in kubelet kube-proxy policy coredns kube-scheduler kube-controller-manager kube-apiserver etcd; do stop $n; done
}

stop_containers() {
	local c d ctr=$BIN/current/containerd/ctr
	tasks() { "$ctr" --address "$CRI_SOCK" -n k8s.io tasks "$@" 2>/dev/null; }
	if alive containerd; then
		for c in $(tasks ls -q); do tasks kill -s KILL "$c" >/dev/null; done
		for _ in $(seq 50); do
			tasks ls | grep -qw RUNNING || break
			sleep 0.2
		done
		for c in $(tasks ls -q); do tasks delete -f "$c" >/dev/null; done
	fi
	stop containerd
	# Shims outlive containerd by design; only those serving our socket are ours.
	pgrep -f "containerd-shim-runc-v2 .*-address $CRI_SOCK( |\$)" | xargs -r kill -9 2>/dev/null
	# And what ran in the cluster's control groups, had its shim been killed before.
	for d in /sys/fs/cgroup/*/"$PELTON_CLUSTER_NAME" /sys/fs/cgroup/"$PELTON_CLUSTER_NAME"; do
		[ -d "$d" ] && find "$d" -name cgroup.procs -exec cat {} + 2>/dev/null | xargs -r kill -9 2>/dev/null
	done
	return 0
}

stop_servers() {
	stop proxy
	stores_down
	stop registry
}

# elsewhere removes what kubelet, containerd and the CNI plugins write to places that no setting moves; what is another program's stays.
elsewhere() {
	local f id results=/var/lib/cni/results
	for f in "$results/$PELTON_CLUSTER_NAME"-*; do
		[ -e "$f" ] || continue
		id=${f#"$results/$PELTON_CLUSTER_NAME"-}
		id=${id%-*}
		rm -f "$f" "$results/cni-loopback-$id"-*
	done
	if ! pgrep -x kubelet >/dev/null; then
		rm -f /var/lib/kubelet/device-plugins/kubelet.sock /var/lib/kubelet/device-plugins/kubelet_internal_checkpoint /var/lib/kubelet/device-plugins/DEPRECATION
		rmdir /var/lib/kubelet/device-plugins /var/lib/kubelet 2>/dev/null
		rmdir -p /usr/libexec/kubernetes/kubelet-plugins/volume/exec 2>/dev/null
	fi
	# Shims that were killed left sockets, and runc the state of their containers. Whoever's containers run has shims of that name.
	if ! pgrep containerd >/dev/null && [ -d /run/containerd ]; then
		rm -rf /run/containerd/s /run/containerd/runc/k8s.io
		find /run/containerd -depth -type d -exec rmdir {} + 2>/dev/null
	fi
	rmdir "$results" /var/lib/cni 2>/dev/null
	return 0
}

# prune_registry: what installations and tests pushed goes as their other data does; else it would heap up.
prune_registry() {
	local r
	[ -s "$CONF/registry.yml" ] || return 0
	for r in "$IMAGES"/docker/registry/v2/repositories/*; do
		case ${r##*/} in testcluster | base | demo | serving | eventing | eventing-rabbitmq | traefik) ;; *) rm -rf "$r" ;; esac
	done
	docker-registry garbage-collect --delete-untagged "$CONF/registry.yml" >"$LOG/registry-gc.log" 2>&1 || log "the registry's room was not freed: $(tail -n 1 "$LOG/registry-gc.log")"
}

undo() {
	local m d
	for _ in 1 2 3 4 5; do # what was just killed may hold a mount or a control group for a moment
		for m in $(awk -v d="$PELTON_CLUSTER_DIR/" 'index($2, d) == 1 {print $2}' /proc/mounts | sort -r); do umount -l "$m" 2>/dev/null; done
		for d in /sys/fs/cgroup/*/"$PELTON_CLUSTER_NAME" /sys/fs/cgroup/"$PELTON_CLUSTER_NAME"; do
			[ -d "$d" ] && find "$d" -depth -type d -exec rmdir {} + 2>/dev/null
		done
		m=$(awk -v d="$PELTON_CLUSTER_DIR/" 'index($2, d) == 1 {print $2}' /proc/mounts)
		d=$(ls -d /sys/fs/cgroup/*/"$PELTON_CLUSTER_NAME" /sys/fs/cgroup/"$PELTON_CLUSTER_NAME" 2>/dev/null)
		[ -z "$m$d" ] && break
		sleep 0.5
	done
	[ -z "$m" ] || die "still mounted: $m"
	[ -z "$d" ] || die "control groups in use: $d"
	net_down
	elsewhere
	rm -rf "${STATE:?}" "${RUN:?}" "${CONF:?}" "${PKI:?}" "${SECRETS:?}" "${LOG:?}" "${DATA:?}"
	for d in "$BIN"/*-*; do # programs that no longer are what the sources say
		[ -d "$d" ] && [ "$(readlink -f "$BIN/current/$(basename "${d%-*}")")" != "$d" ] && rm -rf "$d"
	done
	return 0
}
