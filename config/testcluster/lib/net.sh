# The cluster's network: a bridge with the pods' gateway, the node's address on the loopback
# interface, and guards so that nothing of it leaves this machine: blackhole routes below the real
# ones, a firewall table, and no masquerading at all.

TABLE=pelton_${PELTON_CLUSTER_NAME//[^a-z0-9]/_}
SYSCTLS="net.ipv4.ip_forward=1 net.bridge.bridge-nf-call-iptables=1 fs.inotify.max_user_instances=1024"

net_up() {
	local s
	if [ ! -s "$STATE/sysctls" ]; then # what they were, for 'down'
		for s in $SYSCTLS; do sysctl -e "${s%=*}"; done | tr -d ' ' >"$STATE/sysctls.new" && mv "$STATE/sysctls.new" "$STATE/sysctls"
	fi
	sysctl -qw $SYSCTLS || die "cannot set $SYSCTLS"
	ip route replace blackhole "$PELTON_CLUSTER_POD_CIDR" metric 4096
	ip route replace blackhole "$PELTON_CLUSTER_SVC_CIDR" metric 4096
	if ! ip link show "$PELTON_CLUSTER_BRIDGE" >/dev/null 2>&1; then
		ip link add "$PELTON_CLUSTER_BRIDGE" type bridge || die "cannot create the bridge $PELTON_CLUSTER_BRIDGE"
	fi
	# On lo: the bridge plugin refuses a bridge that holds any address but the gateway.
	ip addr replace "$PELTON_CLUSTER_NODE_IP/32" dev lo
	ip addr replace "$PELTON_CLUSTER_POD_GW/24" dev "$PELTON_CLUSTER_BRIDGE"
	ip link set lo up
	ip link set "$PELTON_CLUSTER_BRIDGE" up
	# A program on the node that dials a service address needs *some* route before kube-proxy
	# rewrites the destination; what is not rewritten dies on the bridge.
	ip route replace "$PELTON_CLUSTER_SVC_CIDR" dev "$PELTON_CLUSTER_BRIDGE" src "$PELTON_CLUSTER_NODE_IP" metric 100
	guard | nft -f - || die "cannot load the firewall table $TABLE"
}

guard() {
	cat <<-NFT
		table inet $TABLE
		delete table inet $TABLE
		table inet $TABLE {
			set ours { type ipv4_addr; flags interval; elements = { $PELTON_CLUSTER_POD_CIDR, $PELTON_CLUSTER_SVC_CIDR, $PELTON_CLUSTER_NODE_IP } }
			chain forward {
				type filter hook forward priority -10;
				iifname "$PELTON_CLUSTER_BRIDGE" oifname != "$PELTON_CLUSTER_BRIDGE" counter drop
				oifname "$PELTON_CLUSTER_BRIDGE" iifname != "$PELTON_CLUSTER_BRIDGE" counter drop
			}
			chain input { # of the node pods reach one address only; the rest of it, other interfaces' too, is not theirs
				type filter hook input priority -10;
				iifname != "$PELTON_CLUSTER_BRIDGE" accept
				ct state established,related accept
				ip daddr $PELTON_CLUSTER_NODE_IP accept
				counter drop
			}
			chain out {
				type filter hook postrouting priority 200;
				oifname != { "lo", "$PELTON_CLUSTER_BRIDGE" } ip daddr @ours counter drop
				oifname != { "lo", "$PELTON_CLUSTER_BRIDGE" } ip saddr @ours counter drop
			}
		}
	NFT
}

net_down() {
	ip link del "$PELTON_CLUSTER_BRIDGE" 2>/dev/null
	ip addr del "$PELTON_CLUSTER_NODE_IP/32" dev lo 2>/dev/null
	nft delete table ip kube-proxy 2>/dev/null
	nft delete table ip6 kube-proxy 2>/dev/null
	nft delete table inet "$TABLE" 2>/dev/null
	nft delete table inet "${TABLE}_policy" 2>/dev/null
	ip route del blackhole "$PELTON_CLUSTER_POD_CIDR" metric 4096 2>/dev/null
	ip route del blackhole "$PELTON_CLUSTER_SVC_CIDR" metric 4096 2>/dev/null
	[ -s "$STATE/sysctls" ] && sysctl -qw $(cat "$STATE/sysctls") 2>/dev/null
	return 0
}
