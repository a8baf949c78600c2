package knative

import (
	"fmt"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/pelton-run/pelton/platform/kit/fault"
)

// Settings say where and how actions run in a cluster. Parse reads them from the setting "deployer".
type Settings struct {
	Kubeconfig   string // file, "" = the service account of our own pod
	Context      string // of the kubeconfig, "" = its current one
	Namespace    string // of a project, with {project}. Defaults to pelton-{project}
	Installation string // marks what is ours among several Peltons of one cluster. Defaults to Namespace without {project}

	// Gateway is the HOST:PORT that takes calls to services of the cluster, "" = each service's own name, by
	// the cluster's DNS.
	Gateway        string
	MinScale       int           // pods of a service that are always there. Defaults to 0
	MaxScale       int           // pods of a service at most. Defaults to 10
	InitialScale   int           // pods that are started to see whether a build works. Defaults to 1
	ScaleDownDelay time.Duration // how long load must be lower before pods are taken away. Defaults to 0
	Window         time.Duration // over which load is averaged, 0 = the cluster's
	// Timeout is how long an execution may take that declares no limit. The cluster must allow it
	// (max-revision-timeout-seconds). Defaults to 10 min.
	Timeout time.Duration
	// Long is the declared limit above which executions run as Jobs. Defaults to 1 min.
	Long time.Duration
	Jobs int // Jobs of a build at a time. Defaults to 20
	// DeployTimeout is how long a build may take to become callable. Defaults to 5 min.
	DeployTimeout time.Duration

	CPU         resource.Quantity // asked for where the action says nothing. Defaults to 100m
	Memory      resource.Quantity // limit where the action says nothing. Defaults to 512Mi
	GPUResource string            // Defaults to nvidia.com/gpu
	// PullCredentials is a file as of Docker's config.json, of what may pull the images of actions; each project's namespace
	// gets them. PullSecret names a secret that somebody else puts there instead. "" = none.
	PullCredentials string
	PullSecret      string

	QuotaCPU    resource.Quantity // of a project's pods together, zero = none
	QuotaMemory resource.Quantity
	QuotaPods   int // Defaults to 200

	// Isolate makes network policies. Callers are the namespaces that reach actions.
	Isolate bool
	Callers []string // Defaults to knative-serving, ingress, pelton
	// Platform are the networks, as CIDR, of runners outside the cluster's pods.
	Platform []string
	// Collect is how long a build that no deployment and no run names is kept. Defaults to 15 min.
	Collect time.Duration
}

const deployerRemedy = "give knative:, or knative:?namespace=pelton-{project}&kubeconfig=FILE&gateway=HOST:PORT&max-scale=10 … (platform/docs/knative.md lists all)"

// Parse reads "knative:?key=value&…". The errors are of fields named path.key.
func Parse(path, text string) (Settings, error) {
	s := Settings{Namespace: "pelton-{project}", MaxScale: 10, InitialScale: 1, Timeout: 10 * time.Minute, Long: time.Minute, Jobs: 20, DeployTimeout: 5 * time.Minute,
		CPU: resource.MustParse("100m"), Memory: resource.MustParse("512Mi"), GPUResource: "nvidia.com/gpu", QuotaPods: 200, Isolate: true,
		Callers: []string{"knative-serving", "ingress", "pelton"}, Collect: 15 * time.Minute}
	rest, ok := strings.CutPrefix(text, "knative:")
	if !ok || (rest != "" && rest[0] != '?') {
		return s, fault.InvalidField(path, "is "+strconv.Quote(text), deployerRemedy)
	}
	values, err := url.ParseQuery(strings.TrimPrefix(rest, "?"))
	if err != nil {
		return s, fault.InvalidField(path, "cannot be read: "+err.Error(), deployerRemedy)
	}
	r := reader{path: path, values: values}
	r.text("kubeconfig", &s.Kubeconfig, nil, "")
	r.text("context", &s.Context, nil, "")
	r.text("namespace", &s.Namespace, namespacePattern, "give a name of lower-case letters, digits and dashes with {project} in it, such as pelton-{project}")
	r.text("installation", &s.Installation, labelName, "use lower-case letters, digits and dashes, at most 40")
	r.text("gateway", &s.Gateway, nil, "")
	r.number("min-scale", &s.MinScale, 0, 1000)
	r.number("max-scale", &s.MaxScale, 1, 1000)
	r.number("initial-scale", &s.InitialScale, 0, 100)
	r.duration("scale-down-delay", &s.ScaleDownDelay, 0, time.Hour)
	r.duration("window", &s.Window, 0, time.Hour)
	r.duration("timeout", &s.Timeout, time.Second, 24*time.Hour)
	r.duration("long", &s.Long, time.Second, time.Hour)
	r.number("jobs", &s.Jobs, 1, 10000)
	r.duration("deploy-timeout", &s.DeployTimeout, 5*time.Second, time.Hour)
	r.quantity("cpu", &s.CPU)
	r.quantity("memory", &s.Memory)
	r.text("gpu-resource", &s.GPUResource, nil, "")
	r.text("pull-credentials", &s.PullCredentials, nil, "")
	r.text("pull-secret", &s.PullSecret, objectName, "give the name of a secret")
	r.quantity("quota-cpu", &s.QuotaCPU)
	r.quantity("quota-memory", &s.QuotaMemory)
	r.number("quota-pods", &s.QuotaPods, 1, 100000)
	r.yes("network-policy", &s.Isolate)
	r.list("callers", &s.Callers)
	r.list("platform-networks", &s.Platform)
	r.duration("collect", &s.Collect, 0, 30*24*time.Hour)
	for key := range values {
		if !slices.Contains(r.known, key) {
			r.bad(key, "is not known", "known are "+strings.Join(r.known, ", "))
		}
	}
	if s.Installation == "" {
		s.Installation = strings.Trim(strings.ReplaceAll(s.Namespace, "{project}", ""), "-")
		if !labelName.MatchString(s.Installation) {
			s.Installation = "pelton"
		}
	}
	if s.Gateway != "" {
		if _, port, err := net.SplitHostPort(s.Gateway); err != nil || port == "" {
			r.bad("gateway", "is "+strconv.Quote(s.Gateway), "give HOST:PORT of the ingress for services of the cluster, or leave it out inside the cluster")
		}
	}
	for _, n := range s.Platform {
		if _, _, err := net.ParseCIDR(n); err != nil {
			r.bad("platform-networks", "holds "+strconv.Quote(n), "give networks such as 10.0.0.0/24, separated by commas")
		}
	}
	if s.PullCredentials != "" && s.PullSecret != "" {
		r.bad("pull-secret", "is given beside pull-credentials", "give one of them")
	}
	if s.MinScale > s.MaxScale {
		r.bad("min-scale", fmt.Sprintf("is %d while max-scale is %d", s.MinScale, s.MaxScale), "make it at most max-scale")
	}
	// An execution of up to long is a call to a service, which timeout would cut before its own limit.
	if s.Timeout < s.Long {
		r.bad("timeout", fmt.Sprintf("is %s while long is %s: executions that may last as long as long would be cut before", s.Timeout, s.Long), "make it at least long, or lower long")
	}
	if len(r.fields) > 0 {
		slices.SortFunc(r.fields, func(a, b fault.Field) int { return strings.Compare(a.Path, b.Path) })
		return s, fault.InvalidFields(r.fields...)
	}
	return s, nil
}

var (
	labelName        = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$`)
	objectName       = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$`)
	namespacePattern = regexp.MustCompile(`^([a-z0-9][a-z0-9-]{0,20})?\{project\}(-[a-z0-9-]{0,20})?$`)
)

// reader takes values one by one and gathers what is wrong with them.
type reader struct {
	path   string
	values url.Values
	known  []string
	fields []fault.Field
}

func (r *reader) bad(key, message, remedy string) {
	r.fields = append(r.fields, fault.Field{Path: r.path + "." + key, Message: message, Remedy: remedy})
}

// get gives a value that is there, once.
func (r *reader) get(key string) (string, bool) {
	r.known = append(r.known, key)
	v := r.values[key]
	if len(v) > 1 {
		r.bad(key, "is given twice", "give it once")
		return "", false
	}
	if len(v) == 0 {
		return "", false
	}
	return v[0], true
}

func (r *reader) text(key string, to *string, pattern *regexp.Regexp, remedy string) {
	v, ok := r.get(key)
	switch {
	case !ok:
	case pattern != nil && !pattern.MatchString(v):
		r.bad(key, "is "+strconv.Quote(v), remedy)
	default:
		*to = v
	}
}

func (r *reader) number(key string, to *int, low, high int) {
	v, ok := r.get(key)
	if !ok {
		return
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < low || n > high {
		r.bad(key, "is "+strconv.Quote(v), fmt.Sprintf("give a number from %d to %d", low, high))
		return
	}
	*to = n
}

func (r *reader) duration(key string, to *time.Duration, low, high time.Duration) {
	v, ok := r.get(key)
	if !ok {
		return
	}
	d, err := time.ParseDuration(v)
	if err != nil || d < low || d > high {
		r.bad(key, "is "+strconv.Quote(v), fmt.Sprintf("give a time from %s to %s, such as 30s", low, high))
		return
	}
	*to = d
}

func (r *reader) quantity(key string, to *resource.Quantity) {
	v, ok := r.get(key)
	if !ok {
		return
	}
	q, err := resource.ParseQuantity(v)
	if err != nil || q.Sign() <= 0 {
		r.bad(key, "is "+strconv.Quote(v), "give an amount as Kubernetes writes it, such as 500m or 256Mi")
		return
	}
	*to = q
}

func (r *reader) yes(key string, to *bool) {
	v, ok := r.get(key)
	if !ok {
		return
	}
	b, err := strconv.ParseBool(v)
	if err != nil {
		r.bad(key, "is "+strconv.Quote(v), "give true or false")
		return
	}
	*to = b
}

func (r *reader) list(key string, to *[]string) {
	if v, ok := r.get(key); ok {
		*to = strings.FieldsFunc(v, func(c rune) bool { return c == ',' })
	}
}
