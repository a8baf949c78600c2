# The control plane and the node, as host processes.

# The kubelet gets a subtree of its own in the hierarchy (v2) or in each (v1); what is mounted stays.
# All pods together weigh as much as four sessions of this machine.
cgroups_up() {
	local c d
	if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
		d=/sys/fs/cgroup/$PELTON_CLUSTER_NAME
		mkdir -p "$d" || die "cannot make the control group $d"
		for c in cpu cpuset memory pids io; do
			echo "+$c" >/sys/fs/cgroup/cgroup.subtree_control 2>/dev/null
			echo "+$c" >"$d/cgroup.subtree_control" 2>/dev/null
		done
		echo 400 >"$d/cpu.weight" 2>/dev/null
		return 0
	fi
	for d in /sys/fs/cgroup/*/; do
		c=$(basename "$d")
		d=$d$PELTON_CLUSTER_NAME
		[ "$c" = unified ] && continue
		mkdir -p "$d" 2>/dev/null || die "cannot make the control group $d"
		if [ "$c" = cpuset ]; then
			cat "${d%/*}/cpuset.cpus" >"$d/cpuset.cpus"
			cat "${d%/*}/cpuset.mems" >"$d/cpuset.mems"
		fi
		[ "$c" = cpu ] && echo 4096 >"$d/cpu.shares"
		[ "$c" = memory ] && echo 1 >"$d/memory.use_hierarchy" 2>/dev/null
	done
	return 0
}

registry_up() {
	put "$CONF/registry.yml" <<-YAML
		version: 0.1
		log: {level: warn, accesslog: {disabled: true}}
		storage: {filesystem: {rootdirectory: "$IMAGES"}, delete: {enabled: true}}
		http: {addr: "$REGISTRY"}
	YAML
	spawn registry docker-registry serve "$CONF/registry.yml"
	WAIT_ON=registry wait_for 20 "the image registry" curl -fsS "http://$REGISTRY/v2/"
}

# After a reboot nothing that ran on the node runs any more: it begins empty, as the cluster's objects
# are in etcd and the images in the registry.
fresh_node() {
	local boot
	boot=$(cat /proc/sys/kernel/random/boot_id)
	alive containerd && return
	if [ "$(cat "$STATE/boot" 2>/dev/null)" != "$boot" ]; then
		rm -rf "${STATE:?}"/{containerd,ipam,kubelet,podlogs} "${RUN:?}/containerd"
		echo "$boot" >"$STATE/boot"
	fi
}

containerd_up() {
	local at
	fresh_node
	cgroups_up
	at=$(readlink -f "$BIN/current/containerd")
	mkdir -p "$STATE/containerd" "$RUN/containerd" "$CONF/certs.d/$REGISTRY" "$CONF/cni"
	put "$CONF/certs.d/$REGISTRY/hosts.toml" <<-TOML
		server = "http://$REGISTRY"
		[host."http://$REGISTRY"]
		  capabilities = ["pull", "resolve"]
	TOML
	put "$CONF/cni/10-testcluster.conflist" <<-JSON
		{"cniVersion": "1.0.0", "name": "$PELTON_CLUSTER_NAME", "plugins": [
		  {"type": "bridge", "bridge": "$PELTON_CLUSTER_BRIDGE", "isGateway": true, "ipMasq": false, "hairpinMode": true,
		   "ipam": {"type": "host-local", "dataDir": "$STATE/ipam", "ranges": [[{"subnet": "$PELTON_CLUSTER_POD_NET", "gateway": "$PELTON_CLUSTER_POD_GW"}]], "routes": [{"dst": "0.0.0.0/0"}]}}]}
	JSON
	put "$CONF/containerd.toml" <<-TOML
		version = 3
		root = "$STATE/containerd"
		state = "$RUN/containerd"
		[grpc]
		  address = "$CRI_SOCK"
		[debug]
		  level = "warn"
		[plugins."io.containerd.cri.v1.images"]
		  snapshotter = "overlayfs"
		  [plugins."io.containerd.cri.v1.images".pinned_images]
		    sandbox = "$REGISTRY/testcluster/pause:1"
		  [plugins."io.containerd.cri.v1.images".registry]
		    config_path = "$CONF/certs.d"
		[plugins."io.containerd.cri.v1.runtime"]
		  restrict_oom_score_adj = true # root may lack CAP_SYS_RESOURCE
		  netns_mounts_under_state_dir = true # so that 'cluster down' finds them all
		  [plugins."io.containerd.cri.v1.runtime".cni]
		    bin_dirs = ["/usr/lib/cni"]
		    conf_dir = "$CONF/cni"
		  [plugins."io.containerd.cri.v1.runtime".containerd]
		    default_runtime_name = "runc"
		    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
		      runtime_type = "io.containerd.runc.v2"
		      [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
		        BinaryName = "$(command -v runc)"
		        SystemdCgroup = false
	TOML
	# containerd finds its shim by the search path.
	PATH=$at:$PATH spawn containerd "$at/containerd" --config "$CONF/containerd.toml"
	WAIT_ON=containerd wait_for 30 "containerd" "$at/ctr" --address "$CRI_SOCK" version
	image testcluster/pause:1 small pause
}

control_up() {
	local kube=$(readlink -f "$BIN/current/kube")/kube etcd=https://127.0.0.1:$PELTON_CLUSTER_ETCD_PORT peer=https://127.0.0.1:$((PELTON_CLUSTER_ETCD_PORT + 1))
	mkdir -p "$STATE/etcd" && chmod 700 "$STATE/etcd"
	# With client certificates: a pod on the host's network reaches the host's loopback too.
	spawn etcd "$kube" etcd --name testcluster --data-dir "$STATE/etcd" \
		--listen-client-urls "$etcd" --advertise-client-urls "$etcd" \
		--cert-file "$PKI/etcd.crt" --key-file "$PKI/etcd.key" --client-cert-auth --trusted-ca-file "$PKI/ca.crt" \
		--listen-peer-urls "$peer" --initial-advertise-peer-urls "$peer" --initial-cluster "testcluster=$peer" \
		--peer-cert-file "$PKI/etcd.crt" --peer-key-file "$PKI/etcd.key" --peer-client-cert-auth --peer-trusted-ca-file "$PKI/ca.crt" \
		--unsafe-no-fsync --log-level warn
	WAIT_ON=etcd wait_for 30 "etcd" curl -fsS --cacert "$PKI/ca.crt" --cert "$PKI/etcd.crt" --key "$PKI/etcd.key" "$etcd/health"
	spawn kube-apiserver "$kube" kube-apiserver \
		--etcd-servers "$etcd" --etcd-cafile "$PKI/ca.crt" --etcd-certfile "$PKI/etcd.crt" --etcd-keyfile "$PKI/etcd.key" \
		--bind-address "$PELTON_CLUSTER_NODE_IP" --advertise-address "$PELTON_CLUSTER_NODE_IP" --secure-port "$PELTON_CLUSTER_API_PORT" \
		--service-cluster-ip-range "$PELTON_CLUSTER_SVC_CIDR" --authorization-mode Node,RBAC --allow-privileged \
		--client-ca-file "$PKI/ca.crt" --tls-cert-file "$PKI/apiserver.crt" --tls-private-key-file "$PKI/apiserver.key" \
		--kubelet-client-certificate "$PKI/admin.crt" --kubelet-client-key "$PKI/admin.key" --kubelet-preferred-address-types InternalIP \
		--service-account-issuer https://kubernetes.default.svc.cluster.local \
		--service-account-key-file "$PKI/sa.pub" --service-account-signing-key-file "$PKI/sa.key" \
		--proxy-client-cert-file "$PKI/front-proxy.crt" --proxy-client-key-file "$PKI/front-proxy.key" \
		--requestheader-client-ca-file "$PKI/ca.crt" --requestheader-allowed-names front-proxy \
		--requestheader-username-headers X-Remote-User --requestheader-group-headers X-Remote-Group --requestheader-extra-headers-prefix X-Remote-Extra- \
		--profiling=false --v 1
	WAIT_ON=kube-apiserver wait_for 300 "the API server" kc get --raw /readyz
	spawn kube-controller-manager "$kube" kube-controller-manager --kubeconfig "$CONF/kcm.kubeconfig" \
		--authentication-kubeconfig "$CONF/kcm.kubeconfig" --authorization-kubeconfig "$CONF/kcm.kubeconfig" \
		--bind-address 127.0.0.1 --service-account-private-key-file "$PKI/sa.key" --root-ca-file "$PKI/ca.crt" \
		--cluster-cidr "$PELTON_CLUSTER_POD_CIDR" --allocate-node-cidrs --node-cidr-mask-size 24 \
		--use-service-account-credentials --leader-elect=false --profiling=false
	spawn kube-scheduler "$kube" kube-scheduler --kubeconfig "$CONF/scheduler.kubeconfig" \
		--authentication-kubeconfig "$CONF/scheduler.kubeconfig" --authorization-kubeconfig "$CONF/scheduler.kubeconfig" \
		--bind-address 127.0.0.1 --leader-elect=false --profiling=false
}

node_up() {
	local kube=$(readlink -f "$BIN/current/kube")/kube
	mkdir -p "$STATE/kubelet"
	put "$CONF/resolv.conf" </dev/null # no upstream name server: nothing outside is ever asked
	put "$CONF/kubelet.yaml" <<-YAML
		apiVersion: kubelet.config.k8s.io/v1beta1
		kind: KubeletConfiguration
		address: $PELTON_CLUSTER_NODE_IP
		port: 10250
		healthzBindAddress: 127.0.0.1
		authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $PKI/ca.crt}}
		authorization: {mode: Webhook}
		tlsCertFile: $PKI/kubelet.crt
		tlsPrivateKeyFile: $PKI/kubelet.key
		containerRuntimeEndpoint: unix://$CRI_SOCK
		cgroupDriver: cgroupfs
		cgroupRoot: /$PELTON_CLUSTER_NAME
		failCgroupV1: false
		failSwapOn: false
		clusterDNS: [$PELTON_CLUSTER_NODE_IP]
		clusterDomain: cluster.local
		resolvConf: $CONF/resolv.conf
		podLogsDir: $STATE/podlogs
		maxPods: 110
		makeIPTablesUtilChains: false # kube-proxy uses nftables; nothing here needs iptables
		registerNode: true
		serializeImagePulls: false
		nodeStatusUpdateFrequency: 10s
		fileCheckFrequency: 20s
		syncFrequency: 30s
		evictionHard: {memory.available: 200Mi, nodefs.available: 1Gi, imagefs.available: 1Gi, nodefs.inodesFree: "1%"}
		imageGCHighThresholdPercent: 100
		imageMinimumGCAge: 24h
		shutdownGracePeriod: 0s
	YAML
	spawn kubelet "$kube" kubelet --config "$CONF/kubelet.yaml" --kubeconfig "$CONF/kubelet.kubeconfig" \
		--hostname-override "$PELTON_CLUSTER_NAME" --node-ip "$PELTON_CLUSTER_NODE_IP" --root-dir "$STATE/kubelet" --v 1
	put "$CONF/proxy.yaml" <<-YAML
		apiVersion: kubeproxy.config.k8s.io/v1alpha1
		kind: KubeProxyConfiguration
		mode: nftables
		clusterCIDR: $PELTON_CLUSTER_POD_CIDR
		hostnameOverride: $PELTON_CLUSTER_NAME
		bindAddress: $PELTON_CLUSTER_NODE_IP
		healthzBindAddress: 127.0.0.1:10256
		metricsBindAddress: 127.0.0.1:10249
		nodePortAddresses: ["$PELTON_CLUSTER_NODE_IP/32"]
		clientConnection: {kubeconfig: $CONF/proxy.kubeconfig}
		conntrack: {maxPerCore: 0}
		nftables: {syncPeriod: 30s, minSyncPeriod: 100ms}
	YAML
	spawn kube-proxy "$kube" kube-proxy --config "$CONF/proxy.yaml"
	WAIT_ON=kubelet wait_for 180 "the node to be Ready" kc wait --for=condition=Ready "node/$PELTON_CLUSTER_NAME" --timeout=1s
}

dns_up() {
	put "$CONF/Corefile" <<-CORE
		cluster.local:53 {
		  bind $PELTON_CLUSTER_NODE_IP
		  errors
		  kubernetes cluster.local {
		    kubeconfig $CONF/admin.kubeconfig $PELTON_CLUSTER_NAME
		    ttl 5
		  }
		  cache 5
		}
		.:53 {
		  bind $PELTON_CLUSTER_NODE_IP
		  errors
		  template ANY ANY . {
		    rcode NXDOMAIN
		  }
		}
	CORE
	spawn coredns "$(program edge dns)" -conf "$CONF/Corefile"
	WAIT_ON=coredns wait_for 20 "the cluster DNS" dig +time=1 +tries=1 +short @"$PELTON_CLUSTER_NODE_IP" kubernetes.default.svc.cluster.local
}

policy_up() {
	local command=("$(readlink -f "$BIN/current/policy")/policy" -kubeconfig "$ADMIN" -table "${TABLE}_policy" -bridge "$PELTON_CLUSTER_BRIDGE" -dns "$PELTON_CLUSTER_NODE_IP"
		-proxy "$PELTON_CLUSTER_PROXY_PORT" -proxy-pods app.kubernetes.io/component=builder)
	# One of before would keep other rules; the table stays meanwhile.
	if alive policy && [ "$(tr '\0' ' ' <"/proc/$(cat "$RUN/policy.pid")/cmdline")" != "${command[*]} " ]; then stop policy; fi
	spawn policy "${command[@]}"
	WAIT_ON=policy wait_for 20 "the network policies" nft list table inet "${TABLE}_policy"
}
