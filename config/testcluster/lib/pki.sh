# Certificates and kubeconfigs, made once per cluster; 'down' removes them.

pki_up() {
	[ -s "$PKI/done" ] && return
	rm -rf "$PKI" && mkdir -p "$PKI" && chmod 700 "$PKI"
	(
		cd "$PKI" && umask 077 || exit 1
		openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 \
			-keyout ca.key -out ca.crt -subj "/CN=$PELTON_CLUSTER_NAME-ca" 2>/dev/null || exit 1
		leaf() { # NAME SUBJECT [SAN]
			openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
				-keyout "$1.key" -out "$1.csr" -subj "$2" 2>/dev/null || return 1
			openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 3650 -out "$1.crt" \
				-extfile <(echo "extendedKeyUsage=serverAuth,clientAuth"; [ -n "${3:-}" ] && echo "subjectAltName=$3") 2>/dev/null
		}
		first=${PELTON_CLUSTER_SVC_CIDR%0/*}1
		leaf apiserver /CN=kube-apiserver "IP:$PELTON_CLUSTER_NODE_IP,IP:$first,IP:127.0.0.1,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local,DNS:localhost" &&
			leaf etcd /CN=etcd "IP:127.0.0.1" &&
			leaf admin "/O=system:masters/CN=$PELTON_CLUSTER_NAME-admin" &&
			leaf kubelet "/O=system:nodes/CN=system:node:$PELTON_CLUSTER_NAME" "IP:$PELTON_CLUSTER_NODE_IP,DNS:$PELTON_CLUSTER_NAME" &&
			leaf kcm /CN=system:kube-controller-manager &&
			leaf scheduler /CN=system:kube-scheduler &&
			leaf proxy /CN=system:kube-proxy &&
			leaf front-proxy /CN=front-proxy &&
			openssl genrsa -out sa.key 2048 2>/dev/null &&
			openssl rsa -in sa.key -pubout -out sa.pub 2>/dev/null &&
			for who in admin kubelet kcm scheduler proxy; do kubeconfig "$who" >"$CONF/$who.kubeconfig" || exit 1; done &&
			date >done
	) || die "making certificates failed; see $PKI"
}

kubeconfig() { # WHO
	cat <<-YAML
		apiVersion: v1
		kind: Config
		current-context: $PELTON_CLUSTER_NAME
		clusters: [{name: $PELTON_CLUSTER_NAME, cluster: {server: "$API", certificate-authority-data: $(base64 -w0 "$PKI/ca.crt")}}]
		users: [{name: $1, user: {client-certificate-data: $(base64 -w0 "$PKI/$1.crt"), client-key-data: $(base64 -w0 "$PKI/$1.key")}}]
		contexts: [{name: $PELTON_CLUSTER_NAME, context: {cluster: $PELTON_CLUSTER_NAME, user: $1}}]
	YAML
}
