package knativebroker

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/pelton-run/pelton/eventing/bridge/internal/domain"
	"github.com/pelton-run/pelton/platform/kit/fault"
)

// overRabbitMQ is what bridge.broker says for Brokers over the cluster's RabbitMQ.
func overRabbitMQ(t *testing.T) (class, config string) {
	t.Helper()
	if os.Getenv("PELTON_CLUSTER_KUBECONFIG") == "" {
		t.Skip("needs a cluster: make test-cluster")
	}
	config = os.Getenv("PELTON_CLUSTER_RABBITMQBROKER")
	if config == "" {
		t.Skip("the cluster has no Brokers over RabbitMQ: config/testcluster/cluster up rabbitmqbroker")
	}
	return "&class=RabbitMQBroker", "&config=" + config
}

// subscriber is the endpoint of a project as pods reach it: it notes the ids of events by type, refuses the first copy of
// an event of the type moody, and replies to one of the type ask.
type subscriber struct {
	url string

	mu   sync.Mutex
	seen map[string]int // times by type/id
}

func newSubscriber(t *testing.T) *subscriber {
	t.Helper()
	s := &subscriber{seen: map[string]int{}}
	l, err := net.Listen("tcp", net.JoinHostPort(os.Getenv("PELTON_CLUSTER_NODE_IP"), "0"))
	require.NoError(t, err)
	server := httptest.NewUnstartedServer(http.HandlerFunc(s.take))
	require.NoError(t, server.Listener.Close())
	server.Listener = l
	server.Start()
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

func (s *subscriber) take(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/bridge/v1/projects/shop/events" || r.URL.Query().Get("access_token") != "pk_secret" {
		http.Error(w, "no", http.StatusUnauthorized)
		return
	}
	typ, id := r.Header.Get("Ce-Type"), r.Header.Get("Ce-Id")
	s.mu.Lock()
	s.seen[typ+"/"+id]++
	times := s.seen[typ+"/"+id]
	s.mu.Unlock()
	switch {
	case typ == "moody" && times == 1:
		w.WriteHeader(http.StatusServiceUnavailable)
	case typ == "ask":
		for k, v := range map[string]string{"Ce-Specversion": "1.0", "Ce-Type": "answer", "Ce-Source": "/shop", "Ce-Id": "to-" + id, "Content-Type": "application/json"} {
			w.Header().Set(k, v)
		}
		_, _ = w.Write([]byte(`{}`))
	default:
		w.WriteHeader(http.StatusAccepted)
	}
}

func (s *subscriber) times(event string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen[event]
}

// inCluster is a client that knows the cluster's names.
func inCluster() *http.Client {
	dns := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, net.JoinHostPort(os.Getenv("PELTON_CLUSTER_NODE_IP"), "53"))
	}}
	return &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DialContext: (&net.Dialer{Timeout: 5 * time.Second, Resolver: dns}).DialContext}}
}

// eventually repeats what is tried until it says nothing.
func eventually(t *testing.T, what string, try func() string) {
	t.Helper()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	end := time.After(2 * time.Minute)
	for {
		said := try()
		if said == "" {
			return
		}
		select {
		case <-tick.C:
		case <-end:
			require.FailNow(t, what+": "+said)
		}
	}
}

// TestClusterBrokerRabbitMQ: a Broker of the class over RabbitMQ and its Trigger become ready; events that are sent to the one come to the
// other's subscriber, before and after changes of what is wanted, and of the objects by others; replies go back; nothing stays.
func TestClusterBrokerRabbitMQ(t *testing.T) {
	class, config := overRabbitMQ(t)
	sub := newSubscriber(t)
	b := onCluster(t, class+config+"&backoff=100ms&endpoint="+url.QueryEscape(sub.url))
	ctx := t.Context()
	apply := func(types ...string) {
		t.Helper()
		var want []domain.EventTrigger
		if types != nil {
			want = []domain.EventTrigger{{Workflow: "w", ID: "t", Types: types}}
		}
		eventually(t, "apply", func() string {
			err := b.Apply(ctx, "shop", "pk_secret", want)
			if fault.Is(err, fault.Unavailable) && strings.Contains(err.Error(), goingReason) {
				return err.Error()
			}
			require.NoError(t, err)
			return ""
		})
	}
	began := time.Now()
	apply()
	s := until(t, b, "Broker: ready")
	t.Logf("figure: the Broker is ready after %d ms", time.Since(began).Milliseconds())
	began = time.Now()
	apply("a.one")
	until(t, b, "Broker: ready", "Trigger: ready")
	t.Logf("figure: its Trigger after %d ms", time.Since(began).Milliseconds())
	address, err := b.Address(ctx, "shop")
	require.NoError(t, err)
	require.Equal(t, s.Address, address)

	client, sent := inCluster(), 0
	send := func(typ string) (event string) {
		t.Helper()
		sent++
		id := fmt.Sprintf("%d", sent)
		eventually(t, "send", func() string { // the ingress may have no way to RabbitMQ yet, which it says
			r, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader(`{"n":1}`))
			require.NoError(t, err)
			for k, v := range map[string]string{"Ce-Specversion": "1.0", "Ce-Type": typ, "Ce-Source": "/shop", "Ce-Id": id, "Content-Type": "application/json"} {
				r.Header.Set(k, v)
			}
			res, err := client.Do(r)
			if err != nil {
				return err.Error()
			}
			defer func() { _ = res.Body.Close() }()
			if res.StatusCode != http.StatusAccepted {
				return res.Status
			}
			return ""
		})
		return typ + "/" + id
	}
	arrives := func(event string, times int) {
		t.Helper()
		eventually(t, "event "+event, func() string {
			if got := sub.times(event); got < times {
				return fmt.Sprintf("came %d times", got)
			}
			return ""
		})
	}
	arrives(send("a.one"), 1)
	began = time.Now()
	var many []string
	for range 50 {
		many = append(many, send("a.one"))
	}
	for _, e := range many {
		arrives(e, 1)
	}
	t.Logf("figure: 50 events, one after the other, after %d ms", time.Since(began).Milliseconds())

	// Another deployment: what is filtered changes, and the webhook of this class allows that nowhere but in filters.
	all := b.dyn.Resource(triggers).Namespace(b.set.namespaceOf("shop"))
	spec := func() map[string]any {
		t.Helper()
		u, err := all.Get(ctx, triggerName, metav1.GetOptions{})
		require.NoError(t, err)
		return u.Object["spec"].(map[string]any)
	}
	require.Empty(t, spec()["filter"])
	apply("a.*", "ask", "answer", "moody")
	require.Empty(t, spec()["filter"])
	until(t, b, "Broker: ready", "Trigger: ready")
	arrives(send("a.two"), 1)
	arrives(send("moody"), 2)
	arrives(strings.Replace(send("ask"), "ask/", "answer/to-", 1), 1)

	// Others meddle.
	_, err = all.Patch(ctx, triggerName, types.MergePatchType, []byte(`{"spec":{"filter":{"attributes":{"type":"other"}},"subscriber":{"uri":"http://other.example"}}}`), metav1.PatchOptions{})
	require.NoError(t, err)
	apply("a.*")
	require.Empty(t, spec()["filter"])
	until(t, b, "Broker: ready", "Trigger: ready")
	arrives(send("a.three"), 1)
	require.NoError(t, all.Delete(ctx, triggerName, metav1.DeleteOptions{}))
	apply("a.*")
	until(t, b, "Broker: ready", "Trigger: ready")
	arrives(send("a.four"), 1)

	// No workflow takes events, and then one does.
	apply()
	apply("a.five")
	until(t, b, "Broker: ready", "Trigger: ready")
	arrives(send("a.five"), 1)

	require.NoError(t, b.Remove(ctx, "shop"))
	until(t, b, "Broker: missing")
	for _, kind := range []string{"queues", "exchanges", "bindings"} {
		eventually(t, "remove", func() string {
			list, err := b.dyn.Resource(schema.GroupVersionResource{Group: "rabbitmq.com", Version: "v1beta1", Resource: kind}).Namespace(b.set.namespaceOf("shop")).List(ctx, metav1.ListOptions{})
			require.NoError(t, err)
			if len(list.Items) > 0 {
				return fmt.Sprintf("%d %s are left", len(list.Items), kind)
			}
			return ""
		})
	}
}

// TestClusterBrokerRabbitMQTrouble: what this class misses is told in words.
func TestClusterBrokerRabbitMQTrouble(t *testing.T) {
	class, config := overRabbitMQ(t)
	b := onCluster(t, class+config+"-missing")
	require.NoError(t, b.Apply(t.Context(), "shop", "pk_secret", nil))
	s := until(t, b, "Broker: not-ready")
	require.Contains(t, s.Objects[0].Reason, "its exchange is not ready: Failed to get arguments for creating exchange: ")
	require.Contains(t, s.Objects[0].Reason, `"rabbitmq-missing" not found`)
	_, err := b.Address(t.Context(), "shop")
	require.ErrorContains(t, err, "the Broker of project shop has no address yet: its exchange is not ready")
}
