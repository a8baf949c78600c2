package knativebroker

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/pelton-run/pelton/eventing/bridge/internal/domain"
)

// onCluster gives Brokers in namespaces of the test's own, which are removed at its end.
func onCluster(t *testing.T, more string) *Brokers {
	t.Helper()
	kubeconfig := os.Getenv("PELTON_CLUSTER_KUBECONFIG")
	if kubeconfig == "" {
		t.Skip("needs a cluster: make test-cluster")
	}
	prefix := fmt.Sprintf("kb%d", time.Now().UnixNano()%1e9)
	s, err := Parse("bridge.broker", "knative:?kubeconfig="+url.QueryEscape(kubeconfig)+"&namespace="+prefix+"-{project}"+more, "http://pelton.example:8080")
	require.NoError(t, err)
	b, err := Open(s)
	require.NoError(t, err)
	t.Cleanup(func() {
		err := b.dyn.Resource(namespaces).Delete(context.Background(), s.namespaceOf("shop"), metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			t.Error(err)
		}
	})
	return b
}

// until waits for a state of the objects, each as kind: state.
func until(t *testing.T, b *Brokers, want ...string) domain.BrokerState {
	t.Helper()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	end := time.After(2 * time.Minute)
	for {
		s, err := b.State(t.Context(), "shop")
		require.NoError(t, err)
		var got []string
		for _, o := range s.Objects {
			got = append(got, o.Kind+": "+o.State)
		}
		if fmt.Sprint(got) == fmt.Sprint(want) {
			return s
		}
		select {
		case <-tick.C:
		case <-end:
			require.Equal(t, want, got, "%+v", s)
		}
	}
}

// TestClusterBrokers: a project's Broker and Trigger become ready; what others change comes back, what nobody wants goes, what is
// somebody else's stays.
func TestClusterBrokers(t *testing.T) {
	b := onCluster(t, "")
	ctx := t.Context()
	want := []domain.EventTrigger{{Workflow: "w", ID: "t", Types: []string{"a"}}}
	require.NoError(t, b.Apply(ctx, "shop", "pk_secret", nil))
	s := until(t, b, "Broker: ready")
	require.NoError(t, b.Apply(ctx, "shop", "pk_secret", want))
	until(t, b, "Broker: ready", "Trigger: ready")
	address, err := b.Address(ctx, "shop")
	require.NoError(t, err)
	require.Equal(t, s.Address, address)

	namespace := b.set.namespaceOf("shop")
	all := b.dyn.Resource(triggers).Namespace(namespace)
	filter := func() any {
		u, err := all.Get(ctx, triggerName, metav1.GetOptions{})
		require.NoError(t, err)
		return u.Object["spec"].(map[string]any)["filter"].(map[string]any)["attributes"]
	}
	_, err = all.Patch(ctx, triggerName, types.MergePatchType, []byte(`{"spec":{"filter":{"attributes":{"type":"other"}}}}`), metav1.PatchOptions{})
	require.NoError(t, err)
	require.Equal(t, map[string]any{"type": "other"}, filter())
	require.NoError(t, b.Apply(ctx, "shop", "pk_secret", want))
	require.Equal(t, map[string]any{"type": "a"}, filter())
	// From attributes to filters, and on.
	require.NoError(t, b.Apply(ctx, "shop", "pk_secret", []domain.EventTrigger{{Types: []string{"a.*", "b"}}}))
	until(t, b, "Broker: ready", "Trigger: ready")
	u, err := all.Get(ctx, triggerName, metav1.GetOptions{})
	require.NoError(t, err)
	require.Equal(t, []any{map[string]any{"any": []any{map[string]any{"prefix": map[string]any{"type": "a."}}, map[string]any{"exact": map[string]any{"type": "b"}}}}}, u.Object["spec"].(map[string]any)["filters"])

	// A filter that is not wanted goes too.
	_, err = all.Patch(ctx, triggerName, types.MergePatchType, []byte(`{"spec":{"filter":{"attributes":{"type":"other"}}}}`), metav1.PatchOptions{})
	require.NoError(t, err)
	require.NoError(t, b.Apply(ctx, "shop", "pk_secret", []domain.EventTrigger{{Types: []string{"a.*", "b"}}}))
	require.Empty(t, filter())

	require.NoError(t, all.Delete(ctx, triggerName, metav1.DeleteOptions{}))
	require.NoError(t, b.Apply(ctx, "shop", "pk_secret", want))
	until(t, b, "Broker: ready", "Trigger: ready")
	require.NoError(t, b.Apply(ctx, "shop", "pk_secret", nil))
	until(t, b, "Broker: ready")
	require.NoError(t, b.Remove(ctx, "shop"))
	until(t, b, "Broker: missing")
	require.NoError(t, b.Remove(ctx, "shop"), "again")
	_, err = b.Address(ctx, "shop")
	require.ErrorContains(t, err, "has no Broker")

	theirs := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "eventing.knative.dev/v1", "kind": "Broker", "metadata": map[string]any{"name": brokerName, "namespace": namespace}}}
	_, err = b.dyn.Resource(brokers).Namespace(namespace).Create(ctx, theirs, metav1.CreateOptions{})
	require.NoError(t, err)
	require.ErrorContains(t, b.Apply(ctx, "shop", "pk_secret", want), "brokers events in "+namespace+" is not this platform's: rename or remove it")
	require.NoError(t, b.Remove(ctx, "shop"))
	_, err = b.dyn.Resource(brokers).Namespace(namespace).Get(ctx, brokerName, metav1.GetOptions{})
	require.NoError(t, err, "it is left alone")
}

// TestClusterUnknownClass: a class that the cluster does not have is told in words.
func TestClusterUnknownClass(t *testing.T) {
	b := onCluster(t, "&class=NoSuchBroker")
	require.NoError(t, b.Apply(t.Context(), "shop", "pk_secret", nil))
	s := until(t, b, "Broker: pending")
	require.Equal(t, "no controller has looked at it yet: does the cluster have Brokers of the class NoSuchBroker?", s.Objects[0].Reason)
	_, err := b.Address(t.Context(), "shop")
	require.ErrorContains(t, err, "the Broker of project shop has no address yet: no controller has looked at it yet")
}
