package knativebroker

import (
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pelton-run/pelton/platform/kit/fault"
)

// Settings say where Brokers are. Parse reads them from the setting bridge.broker.
type Settings struct {
	Kubeconfig   string // file, "" = the service account of our own pod
	Context      string // of the kubeconfig, "" = its current one
	Namespace    string // of a project, with {project}. Defaults to pelton-{project}
	Installation string // marks what is ours among several Peltons of one cluster. Defaults to Namespace without {project}
	Class        string // of Brokers, "" = the cluster's default. Defaults to ""
	// Config is the object that new Brokers take their configuration from, KIND/NAMESPACE/NAME or
	// KIND.VERSION.GROUP/NAMESPACE/NAME, "" = that of the class.
	Config string
	// Endpoint is the URL at which Brokers reach this platform. Defaults to http.public_url.
	Endpoint string
	// Gateway is the HOST:PORT that takes what goes to Brokers, for a process that does not see the cluster's names.
	Gateway string
	// Retry is how often an event is sent to the project again, and Backoff the first rest, which doubles. They default to 12 and 200ms.
	Retry   int
	Backoff time.Duration
	// Parallel is how many events a Broker of the class RabbitMQBroker brings at once. Defaults to 10.
	Parallel int
	// Every is how often the cluster is looked at for changes by others. Defaults to 30s
	Every time.Duration
}

const remedy = "give knative:, or knative:?namespace=pelton-{project}&kubeconfig=FILE&class=… (platform/docs/events.md lists all)"

var (
	labelName        = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$`)
	namespacePattern = regexp.MustCompile(`^([a-z0-9][a-z0-9-]{0,20})?\{project\}(-[a-z0-9-]{0,20})?$`)
	className        = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)
	configPattern    = regexp.MustCompile(`^[A-Z][A-Za-z]*(\.v[0-9a-z]+\.[a-z0-9.-]+)?/[a-z0-9-]+/[a-z0-9.-]+$`)
)

// Parse reads "knative:?key=value&…". The errors are of fields named path.key; all are told at once.
func Parse(path, text, endpoint string) (Settings, error) {
	s := Settings{Namespace: "pelton-{project}", Endpoint: endpoint, Retry: 12, Backoff: 200 * time.Millisecond, Parallel: 10, Every: 30 * time.Second}
	rest, ok := strings.CutPrefix(text, "knative:")
	if !ok || (rest != "" && rest[0] != '?') {
		return s, fault.InvalidField(path, "is "+strconv.Quote(text), remedy)
	}
	values, err := url.ParseQuery(strings.TrimPrefix(rest, "?"))
	if err != nil {
		return s, fault.InvalidField(path, "cannot be read: "+err.Error(), remedy)
	}
	var bad []fault.Field
	wrong := func(key, message, remedy string) {
		bad = append(bad, fault.Field{Path: path + "." + key, Message: message, Remedy: remedy})
	}
	texts := map[string]struct {
		to     *string
		fits   func(string) bool
		remedy string
	}{
		"kubeconfig":   {&s.Kubeconfig, anything, ""},
		"context":      {&s.Context, anything, ""},
		"namespace":    {&s.Namespace, namespacePattern.MatchString, "give a name of lower-case letters, digits and dashes with {project} in it, such as pelton-{project}"},
		"installation": {&s.Installation, labelName.MatchString, "use lower-case letters, digits and dashes, at most 40"},
		"class":        {&s.Class, className.MatchString, "give the name of a class, such as MTChannelBasedBroker or RabbitMQBroker"},
		"config":       {&s.Config, configPattern.MatchString, "give KIND/NAMESPACE/NAME, such as ConfigMap/knative-eventing/config-br-default-channel, or KIND.VERSION.GROUP/NAMESPACE/NAME"},
		"endpoint":     {&s.Endpoint, isURL, "give the URL at which pods reach this platform, such as http://pelton-bridge.pelton.svc:8080"},
		"gateway":      {&s.Gateway, isHostPort, "give HOST:PORT, or leave it out inside the cluster"},
	}
	for key, v := range values {
		if len(v) > 1 {
			wrong(key, "is given twice", "give it once")
			continue
		}
		if t, ok := texts[key]; ok {
			if !t.fits(v[0]) {
				wrong(key, "is "+strconv.Quote(v[0]), t.remedy)
			}
			*t.to = v[0]
			continue
		}
		switch key {
		case "retry":
			if s.Retry, err = strconv.Atoi(v[0]); err != nil || s.Retry < 0 || s.Retry > 100 {
				wrong(key, "is "+strconv.Quote(v[0]), "give 0 to 100")
			}
		case "parallel":
			if s.Parallel, err = strconv.Atoi(v[0]); err != nil || s.Parallel < 1 || s.Parallel > 1000 {
				wrong(key, "is "+strconv.Quote(v[0]), "give 1 to 1000")
			}
		case "backoff":
			duration(v[0], &s.Backoff, 10*time.Millisecond, time.Minute, func(m, r string) { wrong(key, m, r) })
		case "every":
			duration(v[0], &s.Every, time.Second, time.Hour, func(m, r string) { wrong(key, m, r) })
		default:
			known := append(slices.Sorted(keys(texts)), "retry", "backoff", "parallel", "every")
			wrong(key, "is not known", "known are "+strings.Join(known, ", "))
		}
	}
	if s.Installation == "" {
		s.Installation = strings.Trim(strings.ReplaceAll(s.Namespace, "{project}", ""), "-")
		if !labelName.MatchString(s.Installation) {
			s.Installation = "pelton"
		}
	}
	if s.Endpoint != "" && isLoopback(s.Endpoint) {
		wrong("endpoint", "is "+strconv.Quote(s.Endpoint)+", which pods do not reach", "give the URL at which they reach this platform, such as http://pelton-bridge.pelton.svc:8080")
	}
	if bad != nil {
		slices.SortFunc(bad, func(a, b fault.Field) int { return strings.Compare(a.Path, b.Path) })
		return s, fault.InvalidFields(bad...)
	}
	return s, nil
}

// wayTo makes of a Broker's address the one at which this process sends.
func (s *Settings) wayTo(address url.URL) (string, error) {
	if s.Gateway == "" {
		return address.String(), nil
	}
	if strings.Trim(address.Path, "/") == "" { // the host says which Broker, not the path
		return "", fault.InvalidField("bridge.broker.gateway", "leads to one ingress for all Brokers, and Brokers of this class have one each, here "+address.Host, "leave it out, and run the platform where that name is known")
	}
	address.Scheme, address.Host = "http", s.Gateway
	return address.String(), nil
}

func keys[V any](m map[string]V) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

func anything(string) bool { return true }

func isURL(text string) bool {
	u, err := url.Parse(text)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && u.RawQuery == "" && u.User == nil
}

func isLoopback(text string) bool {
	u, err := url.Parse(text)
	if err != nil {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Hostname() == "localhost" || ip != nil && (ip.IsLoopback() || ip.IsUnspecified())
}

func isHostPort(text string) bool {
	_, port, err := net.SplitHostPort(text)
	return err == nil && port != ""
}

func duration(text string, to *time.Duration, low, high time.Duration, wrong func(message, remedy string)) {
	d, err := time.ParseDuration(text)
	if err != nil || d < low || d > high {
		wrong("is "+strconv.Quote(text), "give a time from "+low.String()+" to "+high.String()+", such as 30s")
		return
	}
	*to = d
}
