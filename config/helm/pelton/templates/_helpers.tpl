{{- define "pelton.name" -}}
{{- .Release.Name -}}
{{- end -}}

{{- define "pelton.labels" -}}
app.kubernetes.io/name: pelton
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end -}}

{{- define "pelton.selector" -}}
app.kubernetes.io/name: pelton
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* Services that have a database, and those that use the bus. */}}
{{- define "pelton.stored" -}}authorization repository studio runner bridge{{- end -}}
{{- define "pelton.bused" -}}authorization repository builder studio runner bridge{{- end -}}

{{/* A value of a secret that is there, else a new one: dict "root" . "secret" NAME "key" KEY "new" VALUE. */}}
{{- define "pelton.kept" -}}
{{- $old := lookup "v1" "Secret" .root.Release.Namespace .secret -}}
{{- if and $old (index (default dict $old.data) .key) -}}
{{- index $old.data .key -}}
{{- else -}}
{{- .new | b64enc -}}
{{- end -}}
{{- end -}}

{{- define "pelton.host" -}}
{{- (urlParse .Values.publicURL).host | splitList ":" | first -}}
{{- end -}}

{{/* By which proxy a container's requests leave; the cluster's own names and its API server are asked directly. */}}
{{- define "pelton.proxy" -}}
{{- if or .Values.proxy.http .Values.proxy.https -}}
{{- with .Values.proxy.http }}
- {name: HTTP_PROXY, value: {{ . | quote }}}
{{- end }}
{{- with .Values.proxy.https }}
- {name: HTTPS_PROXY, value: {{ . | quote }}}
{{- end }}
{{- $no := list "$(KUBERNETES_SERVICE_HOST)" ".svc" ".cluster.local" }}
{{- range $s := list "authorization" "repository" "studio" "runner" "bridge" "webui" }}{{ $no = append $no (printf "%s-%s" (include "pelton.name" $) $s) }}{{ end }}
{{- with .Values.proxy.no }}{{ $no = append $no . }}{{ end }}
- {name: NO_PROXY, value: {{ join "," $no | quote }}}
{{- end -}}
{{- end -}}

{{/* What services have of the values beside the settings: they start anew when it changes. An administrator's password is not theirs. */}}
{{- define "pelton.credentials" -}}
{{- toJson (list (omit .Values.postgresql "adminUser" "adminPassword" "adminSecret" "adminDatabase") (omit .Values.rabbitmq "adminUser" "adminPassword" "adminSecret" "managementURL") .Values.s3 .Values.builds.env) | sha256sum -}}
{{- end -}}

{{- define "pelton.vhost" -}}
{{- .Values.rabbitmq.vhost | default (include "pelton.name" .) -}}
{{- end -}}

{{- define "pelton.settings" -}}
home: /var/lib/pelton
bus: "amqp://set-in-the-environment"
store: "postgres://set-in-the-environment"
files: {{ printf "s3://%s/%s%s?region=%s%s" .Values.s3.endpoint .Values.s3.bucket (ternary "" (printf "/%s" .Values.s3.prefix) (empty .Values.s3.prefix)) .Values.s3.region (ternary "" "&tls=false" .Values.s3.tls) | quote }}
s3: {credentials: /etc/pelton/s3/s3.yaml}
{{- $o := merge (dict "namespace" .Values.knative.namespace "installation" (include "pelton.name" .) "callers" (join "," (append .Values.knative.callers .Release.Namespace))) .Values.knative.options }}
{{- if .Values.registry.pullSecret }}{{ $_ := set $o "pull-credentials" "/etc/pelton/pull/config.json" }}{{ end }}
{{- if .Values.knative.gateway }}{{ $_ := set $o "gateway" .Values.knative.gateway }}{{ end }}
{{- $q := list }}{{ range $k := keys $o | sortAlpha }}{{ $q = append $q (printf "%s=%s" $k (get $o $k | toString | urlquery | replace "%7B" "{" | replace "%7D" "}")) }}{{ end }}
deployer: {{ printf "knative:?%s" (join "&" $q) | quote }}
authorization:
  url: http://{{ include "pelton.name" . }}-authorization:8080
bridge:
  runner: http://{{ include "pelton.name" . }}-runner:8080
  private_targets: {{ .Values.events.privateTargets }}
  {{- if .Values.events.brokers.enabled }}
  {{- $b := list (printf "namespace=%s" .Values.knative.namespace) (printf "installation=%s" (include "pelton.name" .)) (printf "endpoint=http://%s-bridge.%s.svc:8080" (include "pelton.name" .) .Release.Namespace) }}
  {{- with .Values.events.brokers.class }}{{ $b = append $b (printf "class=%s" .) }}{{ end }}
  {{- range $k, $v := .Values.events.brokers.options }}{{ $b = append $b (printf "%s=%s" $k (toString $v | urlquery)) }}{{ end }}
  broker: {{ printf "knative:?%s" (join "&" $b) | quote }}
  {{- end }}
builder:
  backend: "kaniko:"
  parallel: {{ .Values.builds.parallel }}
  timeout: {{ .Values.builds.timeout }}
  registry: {{ .Values.registry.address | quote }}
  registry_insecure: {{ .Values.registry.insecure | toJson }}
  namespace: {{ .Values.builds.namespace }}
  executor: {{ .Values.image.reference | quote }}
  {{- if .Values.image.pullSecret }}
  executor_credentials: /etc/pelton/executor/config.json
  {{- end }}
  {{- if .Values.registry.credentialsSecret }}
  registry_credentials: /etc/pelton/registry/config.json
  {{- end }}
  {{- if .Values.caBundle }}
  registry_ca: /etc/pelton/settings/ca.crt
  {{- end }}
  {{- with .Values.builds.images }}
  images: {{ toJson . }}
  {{- end }}
  {{- with .Values.builds.proxy }}
  proxy: {{ . | quote }}
  {{- end }}
  no_proxy: {{ .Values.builds.noProxy | toJson }}
  {{- if .Values.builds.env }}
  build_env: /etc/pelton/buildenv
  {{- end }}
  nameservers: {{ .Values.builds.nameservers | toJson }}
  network_policy: {{ .Values.builds.networkPolicy.enabled }}
  network_allow: {{ .Values.builds.networkPolicy.allow | toJson }}
  {{- with .Values.builds.limits }}
  limits: {{ toJson . }}
  {{- end }}
http:
  listen: 0.0.0.0:8080
  hosts: []
  public_url: {{ .Values.publicURL | quote }}
repository: {local: false}
runner:
  peers: {listen: "0.0.0.0:7070"}
  {{- with .Values.retention }}
  retention: {{ toJson . }}
  {{- end }}
{{- end -}}

{{- define "pelton.security" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{- define "pelton.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end -}}
