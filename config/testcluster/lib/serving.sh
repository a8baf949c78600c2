# Knative Serving, from the YAML and the programs of its own Go module, and Traefik as its ingress.

# moddir GROUP MODULE: where the module cache has it.
moddir() {
	(
		cd "$SRC/$1" || exit 1
		export GOWORK=off
		d=$(go list -m -f '{{.Dir}}' "$2")
		[ -n "$d" ] || { go mod download "$2" && d=$(go list -m -f '{{.Dir}}' "$2"); }
		[ -d "$d" ] && echo "$d"
	) || die "cannot find the module $2"
}

# render NAMESPACE-OF-IMAGES VERSION FILE...: Knative's YAML with its source-path image names made real ones.
render() {
	local ns=$1 ver=$2
	shift 2
	awk 'FNR==1 && NR>1 {print "---"} {print}' "$@" |
		sed -E "s#ko://knative.dev/[a-z-]+/cmd/([a-z_/-]+)#$REGISTRY/$ns/\1:$ver#g"
}

# thin: tiny CPU requests, so that all of Knative and some functions fit two cores; and liveness
# probes that take a machine busy with builds for what it is, instead of restarting Knative.
thin() {
	sed -E '/^ *requests:/,/^ *(limits|env|ports):/s/^( *cpu:).*/\1 10m/' | awk '
		{ match($0, /^ */); indent = RLENGTH }
		probe && (indent > base || NF == 0) { if ($1 !~ /^(periodSeconds|timeoutSeconds|failureThreshold):$/) print; next }
		{ probe = 0; print }
		/^ *livenessProbe:$/ {
			probe = 1; base = indent
			printf "%*s  periodSeconds: 10\n%*s  timeoutSeconds: 5\n%*s  failureThreshold: 30\n", indent, "", indent, "", indent, ""
		}'
}

# apply WHAT FILE
apply() { kc apply --server-side --force-conflicts -f "$2" >>"$LOG/apply.log" 2>&1 || die "applying $1 failed: $(grep -v 'serverside-applied$' "$LOG/apply.log" | tail -n 3)"; }

# rollouts NAMESPACE DEPLOYMENT...
rollouts() {
	local ns=$1 d
	shift
	for d in "$@"; do wait_for 600 "the deployment $ns/$d" kc -n "$ns" rollout status "deploy/$d" --timeout=1s; done
}

serving_up() {
	step "Knative Serving's images" serving_images
	step "Knative Serving and its ingress" serving_apply
}

serving_images() {
	local c
	for c in activator autoscaler controller webhook queue; do
		image "serving/$c:$SERVING_VERSION" serving "$c" -env KO_DATA_PATH=/var/run/ko
	done
	image "traefik:$TRAEFIK_VERSION" edge traefik
}

serving_apply() {
	local s n c t
	s=$(moddir knative knative.dev/serving) && n=$(moddir knative knative.dev/networking) && c=$(moddir knative knative.dev/caching) && t=$(moddir edge github.com/traefik/traefik/v3) || exit 1
	render serving "$SERVING_VERSION" "$s"/config/core/100-namespace.yaml "$s"/config/core/200-serviceaccount.yaml \
		"$s"/config/core/200-roles/*.yaml "$s"/config/core/300-resources/*.yaml \
		"$n"/config/certificate.yaml "$n"/config/domain-claim.yaml "$n"/config/ingress.yaml "$n"/config/serverlessservice.yaml \
		"$c"/config/image.yaml >"$CONF/serving-1.yaml"
	apply "Serving's resource definitions" "$CONF/serving-1.yaml"
	wait_for 180 "Serving's resource definitions" kc wait --for=condition=Established crd/services.serving.knative.dev crd/images.caching.internal.knative.dev --timeout=1s
	# The webhook refuses config maps it does not like, so ours are patched before it exists.
	render serving "$SERVING_VERSION" "$s"/config/core/configmaps/*.yaml "$n"/config/config-network.yaml >"$CONF/serving-2.yaml"
	apply "Serving's config maps" "$CONF/serving-2.yaml"
	configure config-network '{"ingress-class":"traefik.ingress.networking.knative.dev","autocreate-cluster-domain-claims":"true"}'
	configure config-domain "{\"$PELTON_CLUSTER_DOMAIN\":\"\"}"
	configure config-autoscaler "{\"stable-window\":\"$PELTON_CLUSTER_STABLE_WINDOW\",\"scale-to-zero-grace-period\":\"$PELTON_CLUSTER_SCALE_GRACE\"}"
	render serving "$SERVING_VERSION" "$s"/config/core/deployments/{activator,autoscaler,controller,webhook}.yaml \
		"$s"/config/core/999-cache.yaml "$s"/config/core/webhooks/*.yaml | thin >"$CONF/serving-3.yaml"
	apply "Serving's deployments" "$CONF/serving-3.yaml"
	sed "s#@REGISTRY@#$REGISTRY#g; s#@TRAEFIK_VERSION@#$TRAEFIK_VERSION#g; s#@INGRESS_PORT@#$PELTON_CLUSTER_INGRESS_PORT#g" "$HERE/conf/traefik.yaml" >"$CONF/traefik.yaml"
	apply "Traefik's resource definitions" "$t/docs/content/reference/dynamic-configuration/kubernetes-crd-definition-v1.yml" # for installations that route by them
	apply "Traefik" "$CONF/traefik.yaml"
	rollouts knative-serving webhook controller autoscaler activator
	rollouts ingress traefik
}

configure() { kc -n knative-serving patch configmap "$1" --type merge -p "{\"data\":$2}" >/dev/null || die "patching the config map $1 failed"; }
