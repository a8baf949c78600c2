package knative

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pelton-run/pelton/platform/runner/internal/app"
	"github.com/pelton-run/pelton/platform/runner/internal/app/apptest"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
)

// counts tells numbers from its cursor on up to N, each with a key if KEYS and a PAUSE in seconds after it.
const counts = `import asyncio

KEYS, N, PAUSE = True, 10_000, 0

async def run(service, input_values):
    n = int(service.cursor or 0)
    while n < N:
        await service.create_run({"text": str(n)}, key=str(n) if KEYS else None, cursor=n + 1)
        n += 1
        await asyncio.sleep(PAUSE)
    await asyncio.sleep(3600)
`

// events keeps what a source tells, as the runner's database would: by its number, with the last cursor.
type events struct {
	*apptest.Told
	r      func() *Runner
	id     string
	mu     sync.Mutex
	told   map[string]map[string]int // by number how often under which key
	cursor []byte
	more   chan struct{}
}

func newEvents(id string, r func() *Runner) *events {
	return &events{Told: apptest.NewTold(), r: r, id: id, told: map[string]map[string]int{}, more: make(chan struct{})}
}

func (e *events) Output(o app.Output) {
	e.mu.Lock()
	n := string(o.Values["text"])
	if e.told[n] == nil {
		e.told[n] = map[string]int{}
	}
	e.told[n][o.EventKey]++
	e.cursor = o.Cursor
	close(e.more)
	e.more = make(chan struct{})
	e.mu.Unlock()
	e.r().Ack(e.id, o.EventSeq, "run")
}

func (e *events) await(t *testing.T, n int) {
	t.Helper()
	late := time.After(4 * time.Minute)
	for {
		e.mu.Lock()
		have, more := len(e.told), e.more
		e.mu.Unlock()
		if have >= n {
			return
		}
		select {
		case <-more:
		case <-late:
			t.Fatalf("%d of %d events within four minutes", have, n)
		}
	}
}

// all wants every number up to n, and gives how many came twice under one key, which are one event, and how many
// under several. keyOf is the key that a number must have for that to hold, nil where the source gives none.
func (e *events) all(t *testing.T, n int, keyOf func(int) string) (twice, doubled int) {
	t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	whose := map[string]int{}
	for i := range n {
		keys := e.told[strconv.Quote(strconv.Itoa(i))]
		require.NotEmpty(t, keys, "event %d is lost", i)
		if len(keys) > 1 {
			doubled++
		}
		for key, times := range keys {
			require.NotEmpty(t, key, "event %d has no key: told again, it would be another", i)
			if other, taken := whose[key]; taken {
				t.Fatalf("events %d and %d share the key %s: one of them would be lost", other, i, key)
			}
			whose[key] = i
			if keyOf != nil {
				require.Equal(t, keyOf(i), key, "its author's key")
			}
			if times > 1 {
				twice++
			}
		}
	}
	return twice, doubled
}

func (e *events) attempt(b domain.Build) app.Execution {
	e.mu.Lock()
	defer e.mu.Unlock()
	return app.Execution{ID: e.id, Project: "acme", Workflow: "watch", Step: "clock", Attempt: 1, Inputs: domain.Values{"text": domain.Value(`"x"`)}, Build: b, Cursor: e.cursor}
}

// again starts the source once more after its pod was deleted.
func (e *events) again(t *testing.T, b domain.Build) {
	t.Helper()
	r := e.r()
	pods := r.cluster.kube.CoreV1().Pods(r.set.namespaceOf("acme"))
	require.NoError(t, pods.Delete(t.Context(), sourceName("acme", "watch", "clock")+"-0", metav1.DeleteOptions{}))
	require.Contains(t, []app.Outcome{app.Lost, app.Cancelled}, e.End(t).Outcome)
	r.Forget(e.id)
	e.Told = apptest.NewTold()
	r.Start(e.attempt(b), e)
}

// TestClusterSource loses no event and counts none twice, through the end of the runner and of the pod.
func TestClusterSource(t *testing.T) {
	k := openReal(t)
	r := k.runner(t, "")
	b := k.source(t, counts)
	require.NoError(t, r.Ensure(t.Context(), "acme", b))
	e := newEvents("source-d1-clock", func() *Runner { return r })
	begun := time.Now()
	r.Start(e.attempt(b), e)
	e.await(t, 1)
	t.Logf("the first event came after %s", time.Since(begun).Round(time.Millisecond))
	e.await(t, 2000)
	r.Close() // as killed: nothing was said to the pod
	r = k.runner(t, "")
	e.Told = apptest.NewTold()
	r.Attach(e.attempt(b), e)
	e.await(t, 5000)
	e.again(t, b)
	e.await(t, 10_000)
	twice, doubled := e.all(t, 10_000, strconv.Itoa)
	require.Zero(t, doubled)
	require.LessOrEqual(t, twice, 2, "only what was under way as the runner went, and as the pod went: the rest was acknowledged")
	t.Logf("10000 events in %s, %d of them told twice, which their keys make one", time.Since(begun).Round(time.Second), twice)
	e.stop(t)
}

// TestClusterSourceWithoutKeys loses no event; what a new pod tells again has another key, and is counted.
func TestClusterSourceWithoutKeys(t *testing.T) {
	k := openReal(t)
	r := k.runner(t, "")
	b := k.source(t, strings.Replace(counts, "True, 10_000, 0", "False, 2_000, 0.002", 1))
	require.NoError(t, r.Ensure(t.Context(), "acme", b))
	e := newEvents("source-d1-clock", func() *Runner { return r })
	r.Start(e.attempt(b), e)
	e.await(t, 500)
	r.Close()
	r = k.runner(t, "")
	e.Told = apptest.NewTold()
	r.Attach(e.attempt(b), e)
	e.await(t, 1000)
	e.again(t, b)
	e.await(t, 2000)
	twice, doubled := e.all(t, 2000, nil)
	t.Logf("2000 events without keys, none lost, %d of them told twice as one, %d doubled", twice, doubled)
	require.LessOrEqual(t, doubled, 1, "only what was under way when the pod went")
	e.again(t, b)
	e.stop(t) // before it has begun: what an attempt before it left goes all the same
}

// stop cancels the source and waits until nothing of it is left.
func (e *events) stop(t *testing.T) {
	t.Helper()
	r := e.r()
	r.Cancel(e.id, "enough", time.Second)
	require.Equal(t, app.Cancelled, e.End(t).Outcome)
	require.Eventually(t, func() bool {
		set, err := r.cluster.get(context.Background(), statefulSets, r.set.namespaceOf("acme"), sourceName("acme", "watch", "clock"))
		return err == nil && set == nil
	}, time.Minute, 100*time.Millisecond)
}

// TestClusterSourceRevision: the old one is told to stop, and the new pod is another.
func TestClusterSourceRevision(t *testing.T) {
	k := openReal(t)
	r := k.runner(t, "")
	b := k.source(t, counts)
	require.NoError(t, r.Ensure(t.Context(), "acme", b))
	e := newEvents("source-d1-clock", func() *Runner { return r })
	r.Start(e.attempt(b), e)
	e.await(t, 10)
	pods := r.cluster.kube.CoreV1().Pods(r.set.namespaceOf("acme"))
	was, err := pods.Get(t.Context(), sourceName("acme", "watch", "clock")+"-0", metav1.GetOptions{})
	require.NoError(t, err)
	r.Cancel(e.id, "the deployment has changed", time.Second)
	require.Equal(t, app.Cancelled, e.End(t).Outcome)
	b = k.source(t, counts+"# another\n")
	e = newEvents("source-d2-clock", func() *Runner { return r })
	e.cursor = []byte("200")
	r.Start(e.attempt(b), e)
	e.await(t, 50)
	is, err := pods.Get(t.Context(), was.Name, metav1.GetOptions{})
	require.NoError(t, err)
	require.NotEqual(t, was.UID, is.UID)
	e.stop(t)
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
