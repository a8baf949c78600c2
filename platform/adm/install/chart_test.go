package install

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
	"helm.sh/helm/v3/pkg/release"
	"helm.sh/helm/v3/pkg/storage"
	"helm.sh/helm/v3/pkg/storage/driver"
	helmtime "helm.sh/helm/v3/pkg/time"

	"github.com/pelton-run/pelton/platform/kit/fault"
)

var enough = []string{
	"image.reference=registry.example.com/pelton@sha256:00", "publicURL=https://pelton.example.com:8443", "registry.address=registry.example.com/pelton",
	"s3.endpoint=minio.example.com:9000", "s3.accessKey=a", "s3.secretKey=b", "postgresql.host=db.example.com", "postgresql.adminPassword=c",
	"rabbitmq.host=rabbit.example.com", "rabbitmq.managementURL=http://rabbit.example.com:15672", "rabbitmq.adminPassword=d",
}

type object map[string]any

func (o object) at(path ...any) any {
	var v any = map[string]any(o)
	for _, p := range path {
		switch k := p.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[k]
		case int:
			v = v.([]any)[k]
		}
	}
	return v
}

func render(t *testing.T, set ...string) map[string]object {
	t.Helper()
	r := Release{Name: "pelton", Set: append(append([]string{}, enough...), set...), Access: Access{Namespace: "pelton"}}
	text, err := r.Render(t.Context(), "1.2.3")
	require.NoError(t, err)
	out := map[string]object{}
	for dec := yaml.NewDecoder(strings.NewReader(text)); ; {
		var raw map[string]any
		err := dec.Decode(&raw)
		o := object(raw)
		if err == io.EOF { //nolint:errorlint // as the decoder returns it
			return out
		}
		require.NoError(t, err, text)
		if o != nil {
			out[o.at("kind").(string)+" "+o.at("metadata", "name").(string)] = o
		}
	}
}

// TestChart: the chart makes each service's process with what it needs and nothing else.
func TestChart(t *testing.T) {
	objects := render(t, "knative.gateway=10.0.0.1:80", "knative.options.max-scale=5", "builds.env.npmrc=registry=x", "caBundle=PEM", "settings.log=debug", "proxy.https=http://proxy:3128", "proxy.no=db.example.com")
	for _, s := range []string{"authorization", "repository", "builder", "studio", "runner", "bridge", "webui"} {
		d := objects["Deployment pelton-"+s]
		require.NotNil(t, d, s)
		pod := object(d.at("spec", "template", "spec").(map[string]any))
		c := object(pod.at("containers", 0).(map[string]any))
		require.Equal(t, []any{"/usr/local/bin/peltond", "--target", s, "--config", "/etc/pelton/settings/settings.yaml"}, c.at("command"))
		require.Equal(t, true, pod.at("securityContext", "runAsNonRoot"))
		require.Equal(t, true, c.at("securityContext", "readOnlyRootFilesystem"))
		if s == "builder" || s == "runner" {
			require.Equal(t, "pelton-"+s, pod.at("serviceAccountName"))
		} else {
			require.Equal(t, false, pod.at("automountServiceAccountToken"), "only what speaks to the cluster has a token")
		}
		budget := objects["PodDisruptionBudget pelton-"+s]
		require.Equal(t, 1, budget.at("spec", "maxUnavailable"))
		require.Equal(t, s, budget.at("spec", "selector", "matchLabels", "app.kubernetes.io/component"))
		require.Equal(t, "/healthz", c.at("startupProbe", "httpGet", "path"))
		require.Equal(t, "/healthz", c.at("livenessProbe", "httpGet", "path"))
		require.Equal(t, "/readyz", c.at("readinessProbe", "httpGet", "path"))
		require.NotEmpty(t, c.at("resources", "requests", "cpu"))
		require.NotEmpty(t, c.at("resources", "requests", "memory"))
		require.NotEmpty(t, c.at("resources", "limits", "memory"))
		require.Equal(t, "FallbackToLogsOnError", c.at("terminationMessagePolicy"))
		require.Equal(t, "$(KUBERNETES_SERVICE_HOST),.svc,.cluster.local,pelton-authorization,pelton-repository,pelton-studio,pelton-runner,pelton-bridge,pelton-webui,db.example.com", variable(c, "NO_PROXY"))
		for _, v := range pod.at("volumes").([]any) {
			secret, _ := object(v.(map[string]any)).at("secret", "secretName").(string)
			if strings.HasSuffix(secret, "-keys") {
				require.Equal(t, "pelton-"+s+"-keys", secret)
			}
		}
	}
	var raw map[string]any
	require.NoError(t, yaml.Unmarshal([]byte(objects["ConfigMap pelton-settings"].at("data", "settings.yaml").(string)), &raw))
	settings := object(raw)
	require.Equal(t, "s3://minio.example.com:9000/pelton?region=us-east-1", settings.at("files"))
	require.Equal(t, "knative:?callers=knative-serving%2Cingress%2Cpelton&gateway=10.0.0.1%3A80&installation=pelton&max-scale=5&namespace=pelton-{project}", settings.at("deployer"))
	require.Equal(t, "debug", settings.at("log"))
	require.Equal(t, "kaniko:", settings.at("builder", "backend"))
	bus := objects["Secret pelton-studio"].at("stringData", "PELTON_BUS").(string)
	require.Regexp(t, `^amqp://pelton-studio:[A-Za-z0-9]{40}@rabbit.example.com:5672/pelton$`, bus)
	require.Regexp(t, `^postgres://pelton_studio:[A-Za-z0-9]{40}@db.example.com:5432/pelton_studio\?sslmode=require$`, objects["Secret pelton-studio"].at("stringData", "PELTON_STORES_STUDIO"))
	require.Nil(t, objects["Secret pelton-builder"].at("stringData", "PELTON_STORES_BUILDER"))
	paths := objects["Ingress pelton"].at("spec", "rules", 0, "http", "paths").([]any)
	require.Len(t, paths, 7)
	require.Equal(t, "pelton.example.com", objects["Ingress pelton"].at("spec", "rules", 0, "host"))
	for _, rule := range objects["ClusterRole pelton-pelton-runner"].at("rules").([]any) {
		require.NotContains(t, object(rule.(map[string]any)).at("resources"), "secrets")
	}
	require.NotNil(t, render(t, "ingress.kind=IngressRoute")["IngressRoute pelton"])
	require.NotContains(t, render(t, "ingress.kind=none"), "Ingress pelton")
}

// TestChartFence: what a cluster role lets runner and bridge change in every namespace, a policy keeps to projects'.
func TestChartFence(t *testing.T) {
	objects := render(t, "knative.namespace=fn-{project}-x")
	spec := objects["ValidatingAdmissionPolicy pelton-pelton-projects"].at("spec").(map[string]any)
	fence := object(spec)
	require.Equal(t, "Fail", fence.at("failurePolicy"))
	require.Equal(t, "request.userInfo.username in ['system:serviceaccount:pelton:pelton-runner', 'system:serviceaccount:pelton:pelton-bridge']", fence.at("matchConditions", 0, "expression"))
	require.Contains(t, fence.at("validations", 0, "expression"), "object.metadata.name.startsWith('fn-') && object.metadata.name.endsWith('-x')")
	require.Equal(t, []any{"Deny"}, objects["ValidatingAdmissionPolicyBinding pelton-pelton-projects"].at("spec", "validationActions"))
	// Every kind that they may change is in it.
	fenced := map[any]bool{}
	for _, r := range fence.at("matchConstraints", "resourceRules").([]any) {
		for _, name := range object(r.(map[string]any)).at("resources").([]any) {
			fenced[name] = true
		}
	}
	all := render(t, "events.brokers.enabled=true", "registry.pullSecret=p")
	for _, role := range []string{"runner", "bridge"} {
		for _, r := range all["ClusterRole pelton-pelton-"+role].at("rules").([]any) {
			rule := object(r.(map[string]any))
			for _, verb := range rule.at("verbs").([]any) {
				if !slices.Contains([]any{"get", "list", "watch"}, verb) {
					for _, name := range rule.at("resources").([]any) {
						require.True(t, fenced[name], "%s may %s %s", role, verb, name)
					}
				}
			}
		}
	}
}

// variable is the value of a container's variable, nil without one.
func variable(c object, name string) any {
	list, _ := c.at("env").([]any)
	for _, v := range list {
		if o := object(v.(map[string]any)); o.at("name") == name {
			return o.at("value")
		}
	}
	return nil
}

// TestChartProxy: doctor's pods leave by the same way as the services, and the cluster's own names never by a proxy.
func TestChartProxy(t *testing.T) {
	of := func(objects map[string]object, kind string) object {
		return object(objects[kind].at("spec", "template", "spec", "containers", 0).(map[string]any))
	}
	objects := render(t, "proxy.http=http://proxy:3128")
	want := Proxy{HTTP: "http://proxy:3128"}.env("pelton")
	require.Len(t, want, 2)
	for _, kind := range []string{"Deployment pelton-runner", "Deployment pelton-webui", "Job pelton-setup-1"} {
		for _, v := range want {
			require.Equal(t, v.Value, variable(of(objects, kind), v.Name), kind)
		}
		require.Nil(t, variable(of(objects, kind), "HTTPS_PROXY"))
	}
	require.Nil(t, variable(of(render(t, "proxy.no=a"), "Deployment pelton-runner"), "NO_PROXY"))
	require.Empty(t, Proxy{No: "a"}.env("pelton"))
}

// TestChartRestarts: pods start anew when what they connect to changes, and not when an administrator's password does.
func TestChartRestarts(t *testing.T) {
	of := func(set ...string) any {
		return render(t, set...)["Deployment pelton-studio"].at("spec", "template", "metadata", "annotations", "pelton.org/credentials")
	}
	same := of()
	require.Equal(t, same, of("postgresql.adminPassword=new", "rabbitmq.adminPassword=new"))
	for _, set := range []string{"postgresql.host=other", "postgresql.sslmode=disable", "rabbitmq.host=other", "s3.secretKey=new", "builds.env.npmrc=registry=x", "postgresql.urls.studio=postgres://x"} {
		require.NotEqual(t, same, of(set), set)
	}
}

// TestChartBrokers: the bridge speaks to the cluster only where projects may have Brokers.
func TestChartBrokers(t *testing.T) {
	require.NotContains(t, render(t), "ServiceAccount pelton-bridge")
	objects := render(t, "events.brokers.enabled=true", "events.brokers.class=RabbitMQBroker", "events.brokers.options.every=1m")
	require.Equal(t, "pelton-bridge", objects["Deployment pelton-bridge"].at("spec", "template", "spec", "serviceAccountName"))
	require.NotNil(t, objects["ServiceAccount pelton-bridge"])
	require.Equal(t, "pelton-pelton-bridge", objects["ClusterRoleBinding pelton-pelton-bridge"].at("roleRef", "name"))
	for _, rule := range objects["ClusterRole pelton-pelton-bridge"].at("rules").([]any) {
		require.NotContains(t, object(rule.(map[string]any)).at("resources"), "secrets")
	}
	var raw map[string]any
	require.NoError(t, yaml.Unmarshal([]byte(objects["ConfigMap pelton-settings"].at("data", "settings.yaml").(string)), &raw))
	require.Equal(t, "knative:?namespace=pelton-{project}&installation=pelton&endpoint=http://pelton-bridge.pelton.svc:8080&class=RabbitMQBroker&every=1m", object(raw).at("bridge", "broker"))
}

// TestChartPullSecret: what may pull reaches the runner alone, which hands it to projects: commands of builds would see what the
// builder had.
func TestChartPullSecret(t *testing.T) {
	objects := render(t, "registry.pullSecret=may-pull", "caBundle=PEM")
	var raw map[string]any
	require.NoError(t, yaml.Unmarshal([]byte(objects["ConfigMap pelton-settings"].at("data", "settings.yaml").(string)), &raw))
	settings := object(raw)
	require.Contains(t, settings.at("deployer"), "pull-credentials=%2Fetc%2Fpelton%2Fpull%2Fconfig.json")
	require.Nil(t, settings.at("builder", "pull_credentials"))
	require.Equal(t, "/etc/pelton/settings/ca.crt", settings.at("builder", "registry_ca"))
	for _, s := range []string{"authorization", "repository", "builder", "studio", "runner", "bridge", "webui"} {
		mounted := false
		for _, v := range objects["Deployment pelton-"+s].at("spec", "template", "spec", "volumes").([]any) {
			mounted = mounted || object(v.(map[string]any)).at("secret", "secretName") == "may-pull"
		}
		require.Equal(t, s == "runner", mounted, s)
	}
	var verbs []any
	for _, rule := range objects["ClusterRole pelton-pelton-runner"].at("rules").([]any) {
		if r := object(rule.(map[string]any)); slices.Contains(r.at("resources").([]any), any("secrets")) {
			require.Equal(t, []any{"pelton-pull"}, r.at("resourceNames"), "no other secret")
			verbs = append(verbs, r.at("verbs").([]any)...)
		}
	}
	require.Equal(t, []any{"create", "patch"}, verbs)
}

// TestChartImageSecret: build Jobs run the platform's image in a namespace of their own; the builder gets what it is pulled
// with, and no other service does.
func TestChartImageSecret(t *testing.T) {
	for _, secret := range []string{"", "of-image"} {
		objects := render(t, "image.pullSecret="+secret)
		var raw map[string]any
		require.NoError(t, yaml.Unmarshal([]byte(objects["ConfigMap pelton-settings"].at("data", "settings.yaml").(string)), &raw))
		path, _ := object(raw).at("builder", "executor_credentials").(string)
		require.Equal(t, secret != "", path == "/etc/pelton/executor/config.json", path)
		for _, s := range []string{"authorization", "repository", "builder", "studio", "runner", "bridge", "webui"} {
			pod := object(objects["Deployment pelton-"+s].at("spec", "template", "spec").(map[string]any))
			mounted := ""
			for _, v := range pod.at("volumes").([]any) {
				if v := object(v.(map[string]any)); v.at("secret", "secretName") == "of-image" {
					mounted = v.at("name").(string)
				}
			}
			require.Equal(t, secret != "" && s == "builder", mounted != "", s)
			for _, m := range pod.at("containers", 0, "volumeMounts").([]any) {
				if m := object(m.(map[string]any)); mounted != "" && m.at("name") == mounted {
					require.Equal(t, "/etc/pelton/executor", m.at("mountPath"))
				}
			}
		}
	}
}

// TestChartBuilds: the builder may give up the pods of a node that does not answer, and reads no secrets.
func TestChartBuilds(t *testing.T) {
	may := map[any]any{}
	for _, rule := range render(t)["Role pelton-builder"].at("rules").([]any) {
		r := object(rule.(map[string]any))
		for _, of := range r.at("resources").([]any) {
			may[of] = r.at("verbs")
		}
	}
	require.Equal(t, []any{"list", "watch", "delete"}, may["pods"])
	require.Equal(t, []any{"patch"}, may["pods/status"])
	require.Equal(t, []any{"create", "update", "delete"}, may["secrets"])
}

// TestChartRefuses: what is missing is told by name.
func TestChartRefuses(t *testing.T) {
	for i := range enough {
		set := append(append([]string{}, enough[:i]...), enough[i+1:]...)
		name, _, _ := strings.Cut(enough[i], "=")
		section, _, _ := strings.Cut(name, ".")
		_, err := (Release{Name: "pelton", Set: set, Access: Access{Namespace: "pelton"}}).Render(t.Context(), "")
		require.ErrorContains(t, err, section, name)
		require.NotContains(t, err.Error(), "template:", "in words")
	}
	_, err := (Release{Name: strings.Repeat("n", 41), Set: enough, Access: Access{Namespace: "pelton"}}).Render(t.Context(), "")
	require.ErrorContains(t, err, "has 41 characters: give one of at most 40")
	_, err = (Release{Name: "pelton", Set: append([]string{"builds.namespace=here", "builds.create=false"}, enough...), Access: Access{Namespace: "here"}}).Render(t.Context(), "")
	require.ErrorContains(t, err, "builds.namespace is here, where the platform runs: give another one")
	_, err = (Release{Set: []string{"imgae.reference=x"}}).Effective("")
	require.ErrorContains(t, err, "imgae")
	require.ErrorContains(t, err, "did you mean image?")
}

// TestTakeOver: an installation that was killed while it was applied does not stand in the way of the next one for
// ever, and one that is under way is left alone.
func TestTakeOver(t *testing.T) {
	now := time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		status release.Status
		ago    time.Duration
		want   release.Status
		words  string
	}{
		"deployed":   {release.StatusDeployed, time.Second, release.StatusDeployed, ""},
		"failed":     {release.StatusFailed, time.Hour, release.StatusFailed, ""},
		"under way":  {release.StatusPendingInstall, 4 * time.Minute, release.StatusPendingInstall, "is under way since 2026-05-04T11:56:00Z: wait until it has ended; one that broke off is taken over in 6m0s"},
		"broken off": {release.StatusPendingUpgrade, 10 * time.Minute, release.StatusFailed, ""},
	} {
		store := storage.Init(driver.NewMemory())
		rel := &release.Release{Name: "pelton", Version: 1, Info: &release.Info{Status: c.status, LastDeployed: helmtime.Time{Time: now.Add(-c.ago)}}}
		require.NoError(t, store.Create(rel), name)
		err := takeOver(store, rel, now)
		if c.words == "" {
			require.NoError(t, err, name)
		} else {
			require.True(t, fault.Is(err, fault.Conflict), name)
			require.ErrorContains(t, err, c.words, name)
		}
		kept, err := store.Get("pelton", 1)
		require.NoError(t, err, name)
		require.Equal(t, c.want, kept.Info.Status, name)
	}
	require.NoError(t, takeOver(storage.Init(driver.NewMemory()), nil, now), "nothing is there")
}

// TestChartErrors: what Helm says is told in words.
func TestChartErrors(t *testing.T) {
	for text, words := range map[string]string{
		`failed to create resource: roles.rbac.authorization.k8s.io "pelton-builder" is forbidden: unable to create new content in namespace pelton-builds because it is being terminated`: "a namespace of a former installation is still being removed: try again in a moment",
		`unable to build kubernetes objects: no matches for kind "IngressRoute" in version "traefik.io/v1alpha1"`:                                                                          "choose another ingress.kind",
		`Unable to continue with install: ServiceAccount "x" in namespace "y" exists and cannot be imported into the current release`:                                                      "is there already and is not this release's",
	} {
		require.ErrorContains(t, chartError(errors.New(text)), words)
	}
}
