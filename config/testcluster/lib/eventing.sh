# Knative Eventing with its broker on in-memory channels, from its own Go module.

eventing_up() {
	step "Knative Eventing's images" eventing_images
	step "Knative Eventing" eventing_apply
}

eventing_images() {
	local c
	for c in controller webhook mtchannel_broker jobsink mtping broker/filter broker/ingress in_memory/channel_controller in_memory/channel_dispatcher; do
		image "eventing/$c:$EVENTING_VERSION" eventing "$c" -env KO_DATA_PATH=/var/run/ko
	done
}

eventing_apply() {
	local e core imc mt
	e=$(moddir knative knative.dev/eventing) || exit 1
	core=$e/config/core imc=$e/config/channels/in-memory-channel mt=$e/config/brokers/mt-channel-broker
	render eventing "$EVENTING_VERSION" "$core"/100-namespace.yaml "$core"/200-*.yaml "$core"/roles/*.yaml "$core"/resources/*.yaml \
		"$imc"/200-*.yaml "$imc"/roles/*.yaml "$imc"/resources/*.yaml "$mt"/roles/*.yaml >"$CONF/eventing-1.yaml"
	apply "Eventing's resource definitions" "$CONF/eventing-1.yaml"
	wait_for 180 "Eventing's resource definitions" kc wait --for=condition=Established crd/brokers.eventing.knative.dev crd/inmemorychannels.messaging.knative.dev --timeout=1s
	apply "Eventing's image lists" "$HERE/conf/eventing-images.yaml"
	render eventing "$EVENTING_VERSION" "$core"/configmaps/*.yaml "$imc"/configmaps/*.yaml \
		"$core"/deployments/{controller,job-sink,pingsource-mt-adapter,webhook}.yaml "$core"/webhooks/*.yaml \
		"$imc"/deployments/*.yaml "$imc"/webhooks/*.yaml "$mt"/deployments/{broker-filter,broker-ingress,controller}.yaml | thin >"$CONF/eventing-2.yaml"
	apply "Eventing's deployments" "$CONF/eventing-2.yaml"
	rollouts knative-eventing eventing-webhook eventing-controller imc-controller imc-dispatcher mt-broker-controller mt-broker-ingress mt-broker-filter
}
