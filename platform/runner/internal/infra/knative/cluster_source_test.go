package knative

import (
	"context"
	"encoding/json"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pelton-run/pelton/platform/runner/internal/app"
	"github.com/pelton-run/pelton/platform/runner/internal/app/apptest"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
)

// counts tells numbers from its cursor on, each with a key.
const counts = `async def run(service, input_values):
    n = int(service.cursor or 0)
    while n < 300:
        await service.create_run({"text": str(n)}, key=str(n), cursor=n + 1)
        n += 1
    import asyncio
    await asyncio.sleep(3600)
`

// events keeps what a source tells, as the runner's database would: by key, with the last cursor.
type events struct {
	*apptest.Told
	r      func() *Runner
	id     string
	mu     sync.Mutex
	keys   map[string]int
	cursor []byte
	more   chan struct{}
}

func (e *events) Output(o app.Output) {
	e.mu.Lock()
	e.keys[o.EventKey]++
	e.cursor = o.Cursor
	close(e.more)
	e.more = make(chan struct{})
	e.mu.Unlock()
	e.r().Ack(e.id, o.EventSeq, "run")
}

func (e *events) await(t *testing.T, n int) {
	t.Helper()
	late := time.After(2 * time.Minute)
	for {
		e.mu.Lock()
		have, more := len(e.keys), e.more
		e.mu.Unlock()
		if have >= n {
			return
		}
		select {
		case <-more:
		case <-late:
			t.Fatalf("%d of %d events within two minutes", have, n)
		}
	}
}

// TestClusterSource loses no event and counts none twice, through the end of the runner and of the pod.
func TestClusterSource(t *testing.T) {
	k := openReal(t)
	r := k.runner(t, "")
	b := k.source(t, counts)
	require.NoError(t, r.Ensure(t.Context(), "acme", b))
	e := &events{Told: apptest.NewTold(), r: func() *Runner { return r }, id: "source-d1-clock", keys: map[string]int{}, more: make(chan struct{})}
	attempt := func() app.Execution {
		e.mu.Lock()
		defer e.mu.Unlock()
		return app.Execution{ID: e.id, Project: "acme", Workflow: "watch", Step: "clock", Attempt: 1, Inputs: domain.Values{"text": domain.Value(`"x"`)}, Build: b, Cursor: e.cursor}
	}
	begun := time.Now()
	r.Start(attempt(), e)
	e.await(t, 1)
	t.Logf("the first event came after %s", time.Since(begun).Round(time.Millisecond))
	e.await(t, 60)
	r.Close() // as killed: nothing was said to the pod
	r = k.runner(t, "")
	e.Told = apptest.NewTold()
	r.Attach(attempt(), e)
	e.await(t, 120)
	pods := r.cluster.kube.CoreV1().Pods(r.set.namespaceOf("acme"))
	old, err := pods.Get(t.Context(), sourceName("acme", "watch", "clock")+"-0", metav1.GetOptions{})
	require.NoError(t, err)
	require.NoError(t, pods.Delete(t.Context(), old.Name, metav1.DeleteOptions{}))
	ended := e.End(t)
	require.Contains(t, []app.Outcome{app.Lost, app.Cancelled}, ended.Outcome)
	r.Forget(e.id)
	e.Told = apptest.NewTold()
	r.Start(attempt(), e)
	e.await(t, 300)
	e.mu.Lock()
	twice := 0
	for i := range 300 {
		require.NotZero(t, e.keys[strconv.Itoa(i)], "event %d is lost", i)
		if e.keys[strconv.Itoa(i)] > 1 {
			twice++
		}
	}
	e.mu.Unlock()
	t.Logf("300 events, %d of them told twice, which their keys make one", twice)

	// A new revision: the old one is told to stop, and the new pod is another.
	was, err := pods.Get(t.Context(), sourceName("acme", "watch", "clock")+"-0", metav1.GetOptions{})
	require.NoError(t, err)
	r.Cancel(e.id, "the deployment has changed", time.Second)
	require.Equal(t, app.Cancelled, e.End(t).Outcome)
	e.Told, e.id = apptest.NewTold(), "source-d2-clock"
	e.mu.Lock()
	e.keys, e.cursor = map[string]int{}, []byte("200")
	e.mu.Unlock()
	b = k.source(t, counts+"# another\n")
	r.Start(attempt(), e)
	e.await(t, 50)
	is, err := pods.Get(t.Context(), was.Name, metav1.GetOptions{})
	require.NoError(t, err)
	require.NotEqual(t, was.UID, is.UID)
	r.Cancel(e.id, "enough", time.Second)
	require.Equal(t, app.Cancelled, e.End(t).Outcome)
	require.Eventually(t, func() bool {
		set, err := r.cluster.get(context.Background(), statefulSets, r.set.namespaceOf("acme"), sourceName("acme", "watch", "clock"))
		return err == nil && set == nil
	}, time.Minute, 100*time.Millisecond)
}

// source makes an image of a Python source.
func (k *real) source(t *testing.T, code string) domain.Build {
	t.Helper()
	b, bundle := k.bundle(t, code, 1)
	bundle["kind"], bundle["export"], bundle["handler"] = "Source", "run", "code/source.py"
	text, err := json.Marshal(bundle)
	require.NoError(t, err)
	b.Artifact = "image://" + k.image(t, "base/python3:1", map[string][]byte{"pelton/wrapper": k.wrapper(t)}, map[string][]byte{"pelton/bundle/bundle.json": text, "pelton/bundle/code/source.py": []byte(code)})
	b.Kind = "Source"
	return b
}
