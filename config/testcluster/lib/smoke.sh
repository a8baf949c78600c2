# A small check that the cluster does what tests need of it, with rough timings.

ms() { echo $(((${EPOCHREALTIME/[.,]/} - $1) / 1000)); }
ok() { PASSED=$((PASSED + 1)); echo "ok    $*"; }
bad() { FAILED=$((FAILED + 1)); echo "FAIL  $*"; }
fetch() { curl -sS -m 60 -H "Host: $1" "http://${3:-$INGRESS}${2:-/}"; } # HOST [PATH] [ADDRESS]
# Pods that serve; a terminated one lingers some 30 s while its queue-proxy drains.
pods() { kc -n smoke get pod -l "serving.knative.dev/service=$1" --no-headers 2>/dev/null | awk '$3 ~ /Running|Pending|Creating/' | wc -l; }

smoke() {
	PASSED=0 FAILED=0
	alive kube-apiserver || die "the cluster is not up: run 'make cluster-up' first"
	lay_folders
	image demo/server:1 small demo/server
	kc delete namespace smoke smoke-other --ignore-not-found --timeout=120s >/dev/null 2>&1
	kc create namespace smoke >/dev/null && kc create namespace smoke-other >/dev/null || die "cannot create the namespace smoke"
	smoke_serving
	smoke_policy
	if kc get crd brokers.eventing.knative.dev >/dev/null 2>&1; then smoke_eventing; else bad "Knative Eventing is not up"; fi
	smoke_stores
	kc delete namespace smoke smoke-other --wait=false >/dev/null
	echo "$PASSED passed, $FAILED failed"
	[ $FAILED = 0 ]
}

ksvc() { # NAMESPACE NAME PORTNAME [more labels]
	local t0=${EPOCHREALTIME/[.,]/}
	cat <<-YAML | kc apply -f - 2>/dev/null >/dev/null || die "cannot apply the service $2"
		apiVersion: serving.knative.dev/v1
		kind: Service
		metadata: {name: $2, namespace: $1, labels: {testcluster: smoke${4:-}}}
		spec:
		  template:
		    metadata: {annotations: {autoscaling.knative.dev/window: 6s}}
		    spec:
		      automountServiceAccountToken: false
		      containers:
		      - image: "$REGISTRY/demo/server:1"
		        ports: [{name: $3, containerPort: 8080}]
		        readinessProbe: {tcpSocket: {port: 0}, periodSeconds: 1}
	YAML
	if kc -n "$1" wait "ksvc/$2" --for=condition=Ready --timeout=90s >/dev/null; then ok "service $2 Ready after $(ms "$t0") ms"; else bad "service $2 not Ready"; fi
}

timed() { # WHAT HOST
	local t0=${EPOCHREALTIME/[.,]/} got
	got=$(fetch "$2")
	case $got in hello*) ok "$1: $(ms "$t0") ms" ;; *) bad "$1: $got" ;; esac
}

smoke_serving() {
	local got t0
	ksvc smoke hello http1
	timed "first request" "hello.smoke.$PELTON_CLUSTER_DOMAIN"
	timed "warm request" "hello.smoke.$PELTON_CLUSTER_DOMAIN"
	ksvc smoke grpc h2c
	got=$("$(program small demo/client)" "$INGRESS" "grpc.smoke.$PELTON_CLUSTER_DOMAIN" 2>&1)
	case $got in *"tick 5"*) ok "gRPC stream through the ingress:" $got ;; *) bad "gRPC stream through the ingress: $got" ;; esac
	t0=$SECONDS
	until [ "$(pods hello)" = 0 ]; do
		[ $((SECONDS - t0)) -lt 150 ] || { bad "a service does not scale to zero"; return; }
		sleep 0.5
	done
	ok "scaled to zero after $((SECONDS - t0)) s"
	timed "cold start" "hello.smoke.$PELTON_CLUSTER_DOMAIN"
}

# A namespace that lets in the ingress and Knative alone: reached through the ingress, but not from a neighbour.
smoke_policy() {
	local ip got
	ksvc smoke-other neighbour http1
	cat <<-YAML | kc apply -f - >/dev/null || die "cannot apply a network policy"
		apiVersion: networking.k8s.io/v1
		kind: NetworkPolicy
		metadata: {name: closed, namespace: smoke}
		spec:
		  podSelector: {}
		  policyTypes: [Ingress]
		  ingress:
		  - from:
		    - {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: knative-serving}}}
		    - {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: ingress}}}
	YAML
	sleep 1
	ip=$(kc -n smoke get pod -l serving.knative.dev/service=hello -o jsonpath='{.items[?(@.status.phase=="Running")].status.podIP}')
	timed "through the ingress into a closed namespace" "hello.smoke.$PELTON_CLUSTER_DOMAIN"
	got=$(fetch "neighbour.smoke-other.$PELTON_CLUSTER_DOMAIN" "/get?timeout=3s&url=http://${ip%% *}:8012/")
	case $got in *"context deadline exceeded"* | *Timeout*) ok "network policy: a neighbour's pod does not reach it" ;; *) bad "network policy: a neighbour's pod reached ${ip%% *}: $got" ;; esac
	kc -n smoke delete networkpolicy closed >/dev/null
	got=$(fetch "neighbour.smoke-other.$PELTON_CLUSTER_DOMAIN" "/get?timeout=3s&url=http://1.1.1.1/")
	case $got in *"context deadline exceeded"* | *Timeout*) ok "a pod does not reach the internet" ;; *) bad "a pod reached the internet, or was not there to try: $got" ;; esac
}

smoke_eventing() {
	local b p t0
	ksvc smoke sink http1 ", networking.knative.dev/visibility: cluster-local"
	cat <<-YAML | kc apply -f - >/dev/null 2>&1
		apiVersion: eventing.knative.dev/v1
		kind: Broker
		metadata: {name: default, namespace: smoke}
		---
		apiVersion: eventing.knative.dev/v1
		kind: Trigger
		metadata: {name: sink, namespace: smoke}
		spec:
		  broker: default
		  filter: {attributes: {type: testcluster.smoke}}
		  subscriber: {ref: {apiVersion: serving.knative.dev/v1, kind: Service, name: sink}}
	YAML
	kc -n smoke wait broker/default trigger/sink --for=condition=Ready --timeout=90s >/dev/null || { bad "broker or trigger not Ready"; return; }
	b=$(kc -n knative-eventing get svc broker-ingress -o jsonpath='{.spec.clusterIP}')
	p=$(kc -n ingress get svc traefik-private -o jsonpath='{.spec.clusterIP}')
	t0=${EPOCHREALTIME/[.,]/}
	curl -sS -m 10 -X POST "http://$b/smoke/default" -H 'Ce-Specversion: 1.0' -H 'Ce-Type: testcluster.smoke' -H 'Ce-Source: /testcluster' \
		-H "Ce-Id: event-1" -H 'Content-Type: application/json' -d '{"n":1}' || bad "publishing failed"
	for _ in $(seq 200); do
		if fetch sink.smoke.svc.cluster.local /events "$p" | grep -q event-1; then
			ok "event through broker and trigger in $(ms "$t0") ms"
			return
		fi
		sleep 0.1
	done
	bad "the event did not arrive"
}

# The stores answer on the node's address, from a pod too.
smoke_stores() {
	local port got
	for port in "PostgreSQL $PELTON_CLUSTER_POSTGRES_PORT" "RabbitMQ $PELTON_CLUSTER_RABBITMQ_PORT" "MinIO $PELTON_CLUSTER_MINIO_PORT"; do
		got=$(fetch "neighbour.smoke-other.$PELTON_CLUSTER_DOMAIN" "/dial?to=$PELTON_CLUSTER_NODE_IP:${port##* }")
		case $got in connected*) ok "${port% *} can be reached from a pod" ;; *) bad "${port% *} cannot be reached from a pod: $got" ;; esac
	done
	got=$(fetch "neighbour.smoke-other.$PELTON_CLUSTER_DOMAIN" "/dial?to=$PELTON_CLUSTER_NODE_IP:$PELTON_CLUSTER_PROXY_PORT")
	case $got in *"context deadline exceeded"* | *[Tt]imeout*) ok "the proxy to package hosts is for builds alone" ;; *) bad "a pod that is no build's reached the proxy: $got" ;; esac
}
