# Knative's Broker class RabbitMQBroker over the cluster's own RabbitMQ, and the operator by which it
# declares exchanges, queues and bindings there. An optional part, on top of eventing and stores.

RABBITMQBROKER_CONFIG=RabbitmqBrokerConfig.v1alpha1.eventing.knative.dev/knative-eventing/rabbitmq # as bridge.broker has it

rabbitmqbroker_up() {
	step "RabbitMQ's management plugin" rabbitmq_management
	step "images of the RabbitMQ Broker class" rabbitmqbroker_images
	step "the RabbitMQ Broker class" rabbitmqbroker_apply
}

rabbitmqbroker_env() {
	[ ! -e "$CONF/rabbitmqbroker.up" ] || ! alive kube-apiserver || echo "export PELTON_CLUSTER_RABBITMQBROKER=$RABBITMQBROKER_CONFIG"
}

# rabbitmq_management: the operator speaks to the management API alone. Turned on in the running server,
# which others may be using; the file has it listen there after a restart too.
rabbitmq_management() {
	local at="[{ip, \"$PELTON_CLUSTER_NODE_IP\"}, {port, $PELTON_CLUSTER_RABBITMQ_API_PORT}]" out
	alive rabbitmq || die "RabbitMQ is not up: run 'cluster up stores' first"
	# The class takes the host of its connection secret and adds this port, whatever the secret says.
	[ "$PELTON_CLUSTER_RABBITMQ_PORT" = 5672 ] || die "the RabbitMQ Broker class knows port 5672 only: leave PELTON_CLUSTER_RABBITMQ_PORT out"
	echo "[{rabbitmq_management, [{tcp_config, $at}]}]." | put "$DATA/rabbitmq/advanced.config"
	if ! management_answers 2>/dev/null; then
		rabbit_eval "application:set_env(rabbitmq_management, tcp_config, $at, [{persistent, true}])"
		out=$(cd / && rabbit "$(rabbit_sbin)/rabbitmq-plugins" -q enable rabbitmq_management 2>&1) || die "RabbitMQ does not take the plugin: $(tail -n 3 <<<"$out")"
	fi
	WAIT_ON=rabbitmq wait_for 60 "RabbitMQ's management plugin" management_answers
}

management_answers() { curl -fsS -o /dev/null -K - <<<"url = \"http://$PELTON_CLUSTER_NODE_IP:$PELTON_CLUSTER_RABBITMQ_API_PORT/api/whoami\"
user = \"pelton:$(secret rabbitmq)\""; }

rabbitmqbroker_images() {
	local c
	for c in controller/broker dispatcher ingress; do
		image "eventing-rabbitmq/$c:$RABBITMQBROKER_VERSION" rabbitmqbroker "$c" -env KO_DATA_PATH=/var/run/ko
	done
	image "eventing-rabbitmq/topology:$TOPOLOGY_VERSION" rabbitmqbroker messaging-topology-operator
}

rabbitmqbroker_apply() {
	local b
	kc get crd brokers.eventing.knative.dev >/dev/null || die "Knative Eventing is not up: run 'cluster up eventing' first"
	topology_yaml >"$CONF/rabbitmqbroker-1.yaml" || exit 1
	apply "the topology operator" "$CONF/rabbitmqbroker-1.yaml"
	b=$(moddir rabbitmq/broker knative.dev/eventing-rabbitmq)/config/broker || exit 1
	render eventing-rabbitmq "$RABBITMQBROKER_VERSION" "$b"/200-rabbitmq-broker-{clusterrole,binding}.yaml "$b"/300-rabbitmqbrokerconfig.yaml "$b"/500-broker-controller.yaml | thin >"$CONF/rabbitmqbroker-2.yaml"
	apply "the RabbitMQ Broker class" "$CONF/rabbitmqbroker-2.yaml"
	wait_for 60 "the resource definitions of the RabbitMQ Broker class" kc wait --for=condition=Established crd/rabbitmqbrokerconfigs.eventing.knative.dev crd/queues.rabbitmq.com --timeout=1s
	(umask 077 && rabbitmqbroker_config >"$CONF/rabbitmqbroker-3.yaml")
	apply "the configuration of RabbitMQ Brokers" "$CONF/rabbitmqbroker-3.yaml"
	rollouts rabbitmq-system messaging-topology-operator
	rollouts knative-eventing rabbitmq-broker-controller
	: >"$CONF/rabbitmqbroker.up"
}

# topology_yaml: the operator's own kustomization, less its admission webhooks, which would need a certificate manager.
topology_yaml() {
	local t d=$CONF/topology
	t=$(moddir rabbitmq/topology github.com/rabbitmq/messaging-topology-operator) || exit 1
	rm -rf "$d" && mkdir -p "$d" && cp -r "$t"/config/{crd,manager,namespace,rbac} "$d" && chmod -R u+w "$d" || die "cannot write $d"
	cat >"$d/kustomization.yaml" <<-YAML
		resources: [crd, manager, namespace, rbac]
		images:
		- {name: rabbitmqoperator/messaging-topology-operator-dev, newName: "$REGISTRY/eventing-rabbitmq/topology", newTag: $TOPOLOGY_VERSION}
		patches:
		- target: {kind: Deployment}
		  patch: |
		    - {op: replace, path: /spec/template/spec/containers/0/command, value: [/ko-app/messaging-topology-operator]}
		    - {op: replace, path: /spec/template/spec/containers/0/imagePullPolicy, value: IfNotPresent}
		    - {op: add, path: /spec/template/spec/containers/0/env/-, value: {name: ENABLE_WEBHOOKS, value: "false"}}
	YAML
	kc kustomize "$d" | thin
}

# rabbitmqbroker_config: where Brokers of every namespace have their exchanges; bridge.broker names it.
rabbitmqbroker_config() {
	cat <<-YAML
		apiVersion: v1
		kind: Secret
		metadata: {name: rabbitmq, namespace: knative-eventing, annotations: {rabbitmq.com/topology-allowed-namespaces: "*"}}
		stringData: {username: pelton, password: $(secret rabbitmq), uri: "$PELTON_CLUSTER_NODE_IP:$PELTON_CLUSTER_RABBITMQ_API_PORT"}
		---
		apiVersion: eventing.knative.dev/v1alpha1
		kind: RabbitmqBrokerConfig
		metadata: {name: rabbitmq, namespace: knative-eventing}
		spec:
		  queueType: quorum
		  rabbitmqClusterReference: {namespace: knative-eventing, connectionSecret: {name: rabbitmq}}
	YAML
}
