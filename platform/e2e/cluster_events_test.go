package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"

	"github.com/pelton-run/pelton/platform/e2e/harness"
	"github.com/pelton-run/pelton/platform/kit/rabbittest"
)

// kube is what tests do in a cluster beside the platform.
type kube struct {
	t    *testing.T
	core kubernetes.Interface
	dyn  dynamic.Interface
}

func newKube(t *testing.T, kubeconfig string) *kube {
	t.Helper()
	cfg, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	require.NoError(t, err)
	core, err := kubernetes.NewForConfig(cfg)
	require.NoError(t, err)
	dyn, err := dynamic.NewForConfig(cfg)
	require.NoError(t, err)
	return &kube{t, core, dyn}
}

// create makes an object of a text in YAML.
func (k *kube) create(ctx context.Context, resource, text string) {
	k.t.Helper()
	u := &unstructured.Unstructured{}
	require.NoError(k.t, yaml.Unmarshal([]byte(text), &u.Object))
	gv, err := schema.ParseGroupVersion(u.GetAPIVersion())
	require.NoError(k.t, err)
	_, err = k.dyn.Resource(gv.WithResource(resource)).Namespace(u.GetNamespace()).Create(ctx, u, metav1.CreateOptions{})
	require.NoError(k.t, err)
}

// ready waits until an object says that it is.
func (k *kube) ready(ctx context.Context, group, resource, namespace, name string) {
	k.t.Helper()
	require.NoError(k.t, harness.Until(ctx, resource+" "+name+" is ready", func() (bool, error) {
		u, err := k.dyn.Resource(schema.GroupVersionResource{Group: group, Version: "v1", Resource: resource}).Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		list, _, err := unstructured.NestedSlice(u.Object, "status", "conditions")
		for _, c := range list {
			if c, ok := c.(map[string]any); ok && c["type"] == "Ready" && c["status"] == "True" {
				return true, err
			}
		}
		return false, err
	}))
}

// replace ends the pods that labels select, at once, and waits until as many others are ready.
func (k *kube) replace(ctx context.Context, namespace, labels string) {
	k.t.Helper()
	pods := k.core.CoreV1().Pods(namespace)
	old, err := pods.List(ctx, metav1.ListOptions{LabelSelector: labels})
	require.NoError(k.t, err)
	require.NotEmpty(k.t, old.Items, labels)
	gone := map[string]bool{}
	now := int64(0)
	for _, p := range old.Items {
		gone[string(p.UID)] = true
		require.NoError(k.t, pods.Delete(ctx, p.Name, metav1.DeleteOptions{GracePeriodSeconds: &now}))
	}
	require.NoError(k.t, harness.Until(ctx, "pods of "+labels+" are there again", func() (bool, error) {
		list, err := pods.List(ctx, metav1.ListOptions{LabelSelector: labels})
		n := 0
		for _, p := range list.Items {
			for _, c := range p.Status.Conditions {
				if !gone[string(p.UID)] && c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue {
					n++
				}
			}
		}
		return n >= len(old.Items), err
	}))
}

// eventLogger is a plain Knative Service that writes what it is sent.
const eventLogger = `apiVersion: serving.knative.dev/v1
kind: Service
metadata: {name: logger, namespace: NAMESPACE}
spec:
  template:
    metadata: {annotations: {autoscaling.knative.dev/min-scale: "1", autoscaling.knative.dev/max-scale: "1"}}
    spec:
      containers:
        - image: IMAGE
          command: [python3, -u, -c]
          args:
            - |
              import http.server, json, os
              class H(http.server.BaseHTTPRequestHandler):
                  protocol_version = "HTTP/1.1"
                  def do_POST(self):
                      body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                      line = "event %s %d\n" % (self.headers["Ce-Id"], body["result"]["n"])
                      os.write(1, line.encode())  # in one piece, as there are many threads
                      self.send_response(202)
                      self.send_header("Content-Length", "0")
                      self.end_headers()
                  def log_message(self, *args):
                      pass
              http.server.ThreadingHTTPServer(("", 8080), H).serve_forever()
          readinessProbe: {tcpSocket: {port: 0}, periodSeconds: 1}
`

const loggerTrigger = `apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {name: logger, namespace: NAMESPACE}
spec:
  broker: events
  filter: {attributes: {type: io.pelton.run.completed.v1, workflow: work}}
  subscriber: {ref: {apiVersion: serving.knative.dev/v1, kind: Service, name: logger}}
  delivery: {retry: 12, backoffPolicy: exponential, backoffDelay: PT0.2S}
`

// logged reads what the logger has written: how often which number came, and the ids of the events.
func (k *kube) logged(ctx context.Context, namespace string) (numbers map[int]int, ids map[string]bool, lines int, err error) {
	numbers, ids = map[int]int{}, map[string]bool{}
	pods, err := k.core.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: "serving.knative.dev/service=logger"})
	if err != nil {
		return nil, nil, 0, err
	}
	for _, p := range pods.Items {
		r, err := k.core.CoreV1().Pods(namespace).GetLogs(p.Name, &corev1.PodLogOptions{Container: "user-container"}).Stream(ctx)
		if err != nil {
			return nil, nil, 0, err
		}
		for s := bufio.NewScanner(r); s.Scan(); {
			fields := strings.Fields(s.Text())
			if len(fields) != 3 || fields[0] != "event" {
				continue
			}
			n, err := strconv.Atoi(fields[2])
			if err != nil {
				return nil, nil, 0, err
			}
			numbers[n]++
			ids[fields[1]] = true
			lines++
		}
		r.Close()
	}
	return numbers, ids, lines, nil
}

// TestClusterEvents: a RabbitMQ's messages start runs that send events to a Knative Broker, whose Trigger starts runs, whose
// ends go to the Broker, whose Trigger brings them to a plain Knative Service. Each part is ended once on the way; every
// message has come through, as one run of each workflow.
func TestClusterEvents(t *testing.T) {
	kubeconfig, node := os.Getenv("PELTON_CLUSTER_KUBECONFIG"), os.Getenv("PELTON_CLUSTER_NODE_IP")
	if kubeconfig == "" || node == "" {
		t.Skip("needs a cluster: make test-cluster")
	}
	total := 5000
	if text := os.Getenv("PELTON_CLUSTER_EVENTS"); text != "" {
		n, err := strconv.Atoi(text)
		require.NoError(t, err)
		total = n
	}
	ctx := deadline(t, 30*time.Minute)
	k := newKube(t, kubeconfig)
	ingress, err := k.core.CoreV1().Services("knative-eventing").Get(ctx, "broker-ingress", metav1.GetOptions{})
	require.NoError(t, err)
	gateway := ingress.Spec.ClusterIP + ":80"
	prefix := fmt.Sprintf("evt%d", time.Now().Unix()%1e6)
	namespace := prefix + "-default"
	t.Cleanup(func() {
		err := k.core.CoreV1().Namespaces().Delete(context.WithoutCancel(ctx), namespace, metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			t.Error(err)
		}
	})

	rabbit := rabbittest.New(t)
	// Pods reach the platform by the same address after a restart, too.
	l, err := net.Listen("tcp", net.JoinHostPort(node, "0")) //nolint:noctx // a free port
	require.NoError(t, err)
	listen := l.Addr().String()
	require.NoError(t, l.Close())
	broker := "knative:?namespace=" + prefix + "-{project}&every=2s&gateway=" + gateway + "&endpoint=http://" + listen + "&kubeconfig=" + url.QueryEscape(kubeconfig)
	p := startWith(t, harness.Options{Home: newHome(t), Listen: listen, Env: []string{"PELTON_TRUST_ACTIONS=true", "PELTON_DEPLOYER=process:", "PELTON_BRIDGE_BROKER=" + broker, "PELTON_BRIDGE_BACKOFF=500ms", "PELTON_BRIDGE_BACKOFF_CAP=5s", "PELTON_BRIDGE_ATTEMPTS=100"}})

	putSecret(ctx, t, p, "rabbit", rabbit.URL())
	require.NoError(t, p.JSON(ctx, http.MethodPut, "/runner/v1/projects/default/variables/broker", map[string]any{"value": "http://" + gateway + "/" + namespace + "/events"}, nil))
	queue(t, rabbit)
	examples := map[string]string{}
	for _, name := range []string{"action.yaml", "handler.py"} {
		text, err := os.ReadFile(harness.Root() + "/functions/examples/messages/actions/send-event/" + name)
		require.NoError(t, err)
		examples["actions/send-event/"+name] = string(text)
	}
	deploy(t, p, workspace(t, merge(examples, python("actions/same", "[{name: n, type: integer}]", "[{name: n, type: integer}]", "def handle(inputs):\n    return {'n': inputs['n']}\n"), map[string]string{
		"workflows/intake.yaml": workflowYAML("intake", `  inputs: [{name: n, type: integer}]
  triggers: [{id: orders, uses: rabbitmq, with: {url: "${secrets.rabbit}", queue: orders, prefetch: 64}, inputs: {n: "${event.body.n}"}}]
  steps:
    - id: tell
      uses: ./actions/send-event
      with: {url: "${vars.broker}", type: com.example.order, source: /orders, data: {n: "${inputs.n}"}}
      retry: {attempts: 200, backoff: 200ms, cap: 2s}
`),
		"workflows/work.yaml": workflowYAML("work", `  inputs: [{name: n, type: integer}]
  triggers: [{id: order, uses: cloudevent, with: {types: [com.example.order]}, inputs: {n: "${event.data.n}"}}]
  steps: [{id: a, uses: ./actions/same, with: {n: "${inputs.n}"}}]
  result: {n: "${steps.a.n}"}
`)})), "intake", "work")

	var key struct{ Key string }
	require.NoError(t, p.JSON(ctx, http.MethodPost, "/authorization/v1/projects/default/keys", map[string]any{"name": "broker", "role": "operator"}, &key))
	require.NoError(t, p.JSON(ctx, http.MethodPut, "/bridge/v1/projects/default/broker", map[string]any{"key": key.Key}, nil))
	require.NoError(t, harness.Until(ctx, "the Broker and its Trigger are ready", func() (bool, error) {
		_, out := cli(t, p, "events", "broker", "show")
		return strings.Contains(out, "broker     events is ready\n") && strings.Contains(out, "trigger    pelton is ready\n"), nil
	}))
	k.create(ctx, "services", strings.NewReplacer("NAMESPACE", namespace, "IMAGE", os.Getenv("PELTON_CLUSTER_BASES")+"/python3:1").Replace(eventLogger))
	k.ready(ctx, "serving.knative.dev", "services", namespace, "logger")
	k.create(ctx, "triggers", strings.ReplaceAll(loggerTrigger, "NAMESPACE", namespace))
	k.ready(ctx, "eventing.knative.dev", "triggers", namespace, "logger")
	code, out := cli(t, p, "events", "subscribe", "--sink", "broker", "--name", "results", "--type", "io.pelton.run.completed.v1", "--filter", "workflow=work")
	require.Zero(t, code, out)

	parts := []struct {
		name string
		end  func()
	}{
		{"the platform", func() { p.Kill(); require.NoError(t, p.Restart(ctx, "--listen", listen)) }},
		{"the Broker's ingress", func() { k.replace(ctx, "knative-eventing", "eventing.knative.dev/brokerRole=ingress") }},
		{"the Broker's channel", func() {
			k.replace(ctx, "knative-eventing", "messaging.knative.dev/channel=in-memory-channel,messaging.knative.dev/role=dispatcher")
		}},
		{"the Broker's filter", func() { k.replace(ctx, "knative-eventing", "eventing.knative.dev/brokerRole=filter") }},
		{"RabbitMQ", func() { rabbit.Kill(); require.NoError(t, rabbit.Restart(ctx)) }},
	}
	seen := func(least int) (numbers map[int]int, ids map[string]bool, lines int) {
		require.NoError(t, harness.Until(ctx, fmt.Sprintf("%d events have come through", least), func() (ok bool, err error) {
			numbers, ids, lines, err = k.logged(ctx, namespace)
			return len(numbers) >= least, err
		}))
		return numbers, ids, lines
	}
	begun := time.Now()
	sent := 0
	for i, part := range parts {
		next := total * (i + 1) / len(parts)
		publishOrders(ctx, t, rabbit, sent, next)
		seen(sent + (next-sent)/3)
		at := time.Now()
		part.end()
		t.Logf("figure: %s was ended while events flowed, and back after %s", part.name, time.Since(at).Round(100*time.Millisecond))
		sent = next
	}
	numbers, ids, lines := seen(total)
	took := time.Since(begun)
	for n := range total {
		require.Positive(t, numbers[n], "message %d has not come through", n)
	}
	require.Len(t, numbers, total)
	require.Len(t, ids, total, "each message is one run of the last workflow, which has one end")
	t.Logf("figure: %d messages in, %d results out, %d doubles, in %s (%.0f each second)", total, len(numbers), lines-total, took.Round(time.Second), float64(total)/took.Seconds())
	var list struct {
		Items []struct{ Waiting, Dead int }
	}
	require.NoError(t, harness.Until(ctx, "nothing waits", func() (bool, error) {
		err := p.JSON(ctx, http.MethodGet, "/bridge/v1/projects/default/subscriptions", nil, &list)
		return err == nil && len(list.Items) == 1 && list.Items[0].Waiting == 0, err
	}))
	require.Zero(t, list.Items[0].Dead)

	code, out = cli(t, p, "events", "broker", "disconnect")
	require.Zero(t, code, out)
	require.NoError(t, harness.Until(ctx, "the Broker is gone", func() (bool, error) {
		_, err := k.dyn.Resource(schema.GroupVersionResource{Group: "eventing.knative.dev", Version: "v1", Resource: "brokers"}).Namespace(namespace).Get(ctx, "events", metav1.GetOptions{})
		return apierrors.IsNotFound(err), nil
	}))
}

// queue declares the queue of orders, which outlives a broker that is killed.
func queue(t *testing.T, rabbit *rabbittest.Server) {
	t.Helper()
	conn, err := amqp.Dial(rabbit.URL())
	require.NoError(t, err)
	defer conn.Close()
	ch, err := conn.Channel()
	require.NoError(t, err)
	_, err = ch.QueueDeclare("orders", true, false, false, false, amqp.Table{"x-queue-type": "quorum"})
	require.NoError(t, err)
}

// publishOrders puts the orders from one number to before another into the queue, confirmed.
func publishOrders(ctx context.Context, t *testing.T, rabbit *rabbittest.Server, from, to int) {
	t.Helper()
	conn, err := amqp.Dial(rabbit.URL())
	require.NoError(t, err)
	defer conn.Close()
	ch, err := conn.Channel()
	require.NoError(t, err)
	require.NoError(t, ch.Confirm(false))
	var confirms []*amqp.DeferredConfirmation
	for n := from; n < to; n++ {
		body, err := json.Marshal(map[string]int{"n": n})
		require.NoError(t, err)
		c, err := ch.PublishWithDeferredConfirmWithContext(ctx, "", "orders", true, false, amqp.Publishing{MessageId: "order-" + strconv.Itoa(n), DeliveryMode: amqp.Persistent, ContentType: "application/json", Body: body})
		require.NoError(t, err)
		confirms = append(confirms, c)
	}
	for _, c := range confirms {
		acked, err := c.WaitContext(ctx)
		require.NoError(t, err)
		require.True(t, acked)
	}
}
