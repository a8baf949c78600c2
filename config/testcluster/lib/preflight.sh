# What the machine must have, said before anything but packages is changed.

preflight() {
	[ "$(uname -s)" = Linux ] || die "this needs Linux"
	[ "$(id -u)" = 0 ] || die "this needs root, for namespaces, mounts and the firewall: run it with sudo -E"
	command -v apt-get >/dev/null || die "this needs Debian 12 or Ubuntu 24.04, or newer: packages are installed with apt-get"
	preflight_build
	preflight_capabilities
	preflight_cgroups
	if ! mount_overlay; then die "the kernel cannot mount overlayfs in $PELTON_CLUSTER_DIR (module overlay missing, or the folder itself lies on an overlay): set PELTON_CLUSTER_DIR to a folder on ext4 or xfs"; fi
	modprobe -q br_netfilter 2>/dev/null
	[ -e /proc/sys/net/bridge/bridge-nf-call-iptables ] || die "the kernel has no br_netfilter: load the module br_netfilter"
}

preflight_build() {
	local have
	command -v go >/dev/null || die "Go is missing: install Go 1.26 or newer"
	have=$(cd "$SRC/pause" && go env GOVERSION 2>&1) || die "Go cannot be used: $have"
	have=$(awk '/^MemTotal/ {print int($2 / 1048576)}' /proc/meminfo)
	[ "$have" -ge 6 ] || die "the machine has $have GB of memory: linking Kubernetes takes 2.4 GB and the cluster 2.4 GB; 6 GB is the least"
	mkdir -p "$PELTON_CLUSTER_DIR" || die "cannot write $PELTON_CLUSTER_DIR: choose another folder with PELTON_CLUSTER_DIR"
	have=$(df -Pk "$PELTON_CLUSTER_DIR" | awk 'NR == 2 {print int($4 / 1048576)}')
	[ "$have" -ge 8 ] || die "$PELTON_CLUSTER_DIR has $have GB free: programs, images and containers take about 6 GB, Go's caches up to 11 GB where they are empty"
}

preflight_capabilities() {
	local eff name bit
	eff=$((16#$(awk '/^CapEff/ {print $2}' /proc/self/status)))
	for name in chown:0 dac_override:1 setuid:7 net_admin:12 sys_chroot:18 sys_ptrace:19 sys_admin:21 mknod:27; do
		bit=${name#*:}
		((eff >> bit & 1)) || die "root lacks CAP_${name%:*} here (a container without --privileged?)"
	done
}

preflight_cgroups() {
	local c
	if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
		for c in cpu memory pids; do
			grep -qw $c /sys/fs/cgroup/cgroup.controllers || die "the control group controller $c is not available in /sys/fs/cgroup"
		done
		return
	fi
	for c in cpu cpuacct cpuset memory pids devices freezer; do
		[ -d /sys/fs/cgroup/$c ] || die "the control group hierarchy /sys/fs/cgroup/$c is not mounted"
		[ -w /sys/fs/cgroup/$c ] || die "the control group hierarchy /sys/fs/cgroup/$c cannot be written to"
	done
}

# Nothing else may use the cluster's ranges or address.
preflight_routes() {
	local route
	alive kube-apiserver && return
	route=$(ip -4 route show root "$PELTON_CLUSTER_POD_CIDR"; ip -4 route show root "$PELTON_CLUSTER_SVC_CIDR")
	route=$(grep -v "dev $PELTON_CLUSTER_BRIDGE\|^blackhole" <<<"$route")
	[ -z "$route" ] || die "the range of pods or services is in use here ($route): choose others with PELTON_CLUSTER_POD_CIDR, _POD_NET, _POD_GW and _SVC_CIDR"
	route=$(ip -4 -o addr show to "$PELTON_CLUSTER_NODE_IP" | awk '$2 != "lo" {print $2}')
	[ -z "$route" ] || die "$PELTON_CLUSTER_NODE_IP is the address of $route: choose another with PELTON_CLUSTER_NODE_IP"
}

mount_overlay() {
	local d=$PELTON_CLUSTER_DIR/probe rc=1
	modprobe -q overlay 2>/dev/null
	mkdir -p "$d"/{lower,upper,work,merged} || return 1
	if mount -t overlay overlay -o "lowerdir=$d/lower,upperdir=$d/upper,workdir=$d/work" "$d/merged" 2>/dev/null; then
		umount "$d/merged" && rc=0
	fi
	rm -rf "$d"
	return $rc
}

# After the packages are there, since a small machine has neither ip nor nft: interfaces and what the
# firewall must be able to do, tried in a namespace of their own.
preflight_network() {
	preflight_routes
	unshare -n sh -c 'ip link add br0 type bridge && ip link add v0 type veth peer name v1' 2>/dev/null || die "the kernel has no network interfaces of type bridge and veth: load the modules bridge and veth"
	unshare -n nft -f - 2>/dev/null <<-'NFT' || die "the kernel's nftables lack what kube-proxy needs (maps, verdicts, NAT, fib, numgen, conntrack): Linux 5.13 or newer with these modules"
		table ip probe {
			map m { type ipv4_addr . inet_proto . inet_service : verdict; }
			chain c { type nat hook prerouting priority dstnat; fib daddr type local ip daddr . meta l4proto . th dport vmap @m; }
			chain d { numgen random mod 2 vmap { 0 : goto e, 1 : return }; }
			chain e { meta l4proto tcp dnat to 192.0.2.1:80; }
			chain f { type filter hook forward priority 0; ct state established accept; }
		}
	NFT
	if nft list chain ip filter FORWARD 2>/dev/null | grep -q 'policy drop'; then
		die "the machine's firewall drops forwarded packets (policy of ip filter FORWARD, often Docker's): pods could not reach each other; allow the bridge with: iptables -I FORWARD -i $PELTON_CLUSTER_BRIDGE -o $PELTON_CLUSTER_BRIDGE -j ACCEPT && iptables -P FORWARD ACCEPT"
	fi
}
