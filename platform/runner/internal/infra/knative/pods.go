package knative

import (
	"context"
	"io"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
	"knative.dev/serving/pkg/apis/serving"
)

// pod is one of ours as last seen, with the times at which we saw it come up: what the cluster itself
// notes has whole seconds.
type pod struct {
	namespace, name, uid, ip string
	role, execution, build   string
	service                  string // uid of its Knative Service: one of the same name may have been removed just now
	ready, ending            bool
	over                     bool // its containers run no more
	restarts                 int32
	trouble                  *trouble
	cost                     string // of its deletion, as annotated

	seen, scheduled, pulled time.Time
}

// key of a pod.
func (p *pod) key() string { return p.namespace + "/" + p.name }

// pods watches every pod of the installation. Safe for concurrent use.
type pods struct {
	c   *cluster
	now func() time.Time

	mu      sync.Mutex
	all     map[string]*pod
	builds  map[string]map[string]*pod // namespace/short build -> pods of its service
	gone    map[string]int             // the same -> how many instances are gone
	gaps    int                        // times at which pods may have come and gone unseen
	pulled  map[string]time.Time       // uid -> when its image was there
	changed chan struct{}              // closed at the next change
	synced  cache.InformerSynced
}

func newPods(c *cluster, now func() time.Time) *pods {
	return &pods{c: c, now: now, all: map[string]*pod{}, builds: map[string]map[string]*pod{}, gone: map[string]int{}, pulled: map[string]time.Time{}, changed: make(chan struct{})}
}

// watch follows the pods until stop is closed.
func (w *pods) watch(installation string, stop <-chan struct{}) error {
	f := informers.NewSharedInformerFactoryWithOptions(w.c.kube, 0, informers.WithTweakListOptions(func(o *metav1.ListOptions) {
		o.LabelSelector = labelManaged + "=pelton," + labelInstallation + "=" + installation
	}))
	inf := f.Core().V1().Pods().Informer()
	if err := inf.SetTransform(func(o any) (any, error) {
		if p, ok := o.(*corev1.Pod); ok {
			p.ManagedFields = nil
		}
		return o, nil
	}); err != nil {
		return err
	}
	if err := inf.SetWatchErrorHandler(func(r *cache.Reflector, err error) {
		cache.DefaultWatchErrorHandler(context.Background(), r, err)
		w.gap()
	}); err != nil {
		return err
	}
	if _, err := inf.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { w.see(o) },
		UpdateFunc: func(_, o any) { w.see(o) },
		DeleteFunc: func(o any) {
			if last, ok := o.(cache.DeletedFinalStateUnknown); ok {
				w.gap()
				o = last.Obj
			}
			if p, ok := o.(*corev1.Pod); ok {
				w.lose(p.Namespace + "/" + p.Name)
			}
		},
	}); err != nil {
		return err
	}
	w.synced = inf.HasSynced
	ev := informers.NewSharedInformerFactoryWithOptions(w.c.kube, 0, informers.WithTweakListOptions(func(o *metav1.ListOptions) { o.FieldSelector = "reason=Pulled" }))
	pulls := ev.Core().V1().Events().Informer()
	if err := pulls.SetWatchErrorHandler(func(*cache.Reflector, error) {}); err != nil { // without the right to see events, phases lack one
		return err
	}
	if _, err := pulls.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: func(o any) {
		if e, ok := o.(*corev1.Event); ok && strings.Contains(e.InvolvedObject.FieldPath, "{"+containerName+"}") {
			w.pull(string(e.InvolvedObject.UID), e.LastTimestamp.Time)
		}
	}}); err != nil {
		return err
	}
	f.Start(stop)
	ev.Start(stop)
	return nil
}

// pull notes when an image was there, unless that is old news.
func (w *pods) pull(uid string, at time.Time) {
	now := w.now()
	if now.Sub(at) > 5*time.Second {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.pulled) > 2000 {
		clear(w.pulled)
	}
	w.pulled[uid] = now
	for _, p := range w.all {
		if p.uid == uid && p.pulled.IsZero() {
			p.pulled = now
		}
	}
}

func (w *pods) gap() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.gaps++
}

func (w *pods) see(o any) {
	k, ok := o.(*corev1.Pod)
	if !ok {
		return
	}
	now := w.now()
	p := &pod{namespace: k.Namespace, name: k.Name, uid: string(k.UID), ip: k.Status.PodIP, role: k.Labels[labelRole], build: k.Labels[labelBuild], service: k.Labels[serving.ServiceUIDLabelKey],
		execution: k.Annotations[annotationExecution], ending: k.DeletionTimestamp != nil, trouble: troubleOf(k), cost: k.Annotations[annotateCost], seen: now}
	p.over = k.Status.Phase == corev1.PodFailed || k.Status.Phase == corev1.PodSucceeded
	for _, c := range k.Status.Conditions {
		switch {
		case c.Type == corev1.PodScheduled && c.Status == corev1.ConditionTrue:
			p.scheduled = now
		case c.Type == corev1.PodReady:
			p.ready = c.Status == corev1.ConditionTrue
		}
	}
	for _, st := range k.Status.ContainerStatuses {
		if st.Name == containerName {
			p.restarts = st.RestartCount
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	was := w.all[p.key()]
	if was != nil && was.uid != p.uid {
		w.drop(was)
		was = nil
	}
	if was != nil {
		p.seen, p.pulled = was.seen, was.pulled
		if !was.scheduled.IsZero() {
			p.scheduled = was.scheduled
		}
		if p.restarts != was.restarts || (p.over && !was.over) {
			w.gone[p.namespace+"/"+p.build]++
		}
	} else if k.CreationTimestamp.Time.Before(now.Add(-3 * time.Second)) {
		p.seen, p.scheduled = time.Time{}, time.Time{} // it was there before we looked
	}
	if at, ok := w.pulled[p.uid]; ok && p.pulled.IsZero() {
		p.pulled = at
	}
	w.all[p.key()] = p
	if p.role == roleService {
		b := p.namespace + "/" + p.build
		if w.builds[b] == nil {
			w.builds[b] = map[string]*pod{}
		}
		w.builds[b][p.name] = p
	}
	w.tell()
}

func (w *pods) lose(key string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if p := w.all[key]; p != nil {
		w.drop(p)
		w.tell()
	}
}

// drop needs w.mu.
func (w *pods) drop(p *pod) {
	b := p.namespace + "/" + p.build
	delete(w.all, p.key())
	delete(w.builds[b], p.name)
	if len(w.builds[b]) == 0 {
		delete(w.builds, b)
	}
	delete(w.pulled, p.uid)
	w.gone[b]++
}

// tell needs w.mu.
func (w *pods) tell() {
	close(w.changed)
	w.changed = make(chan struct{})
}

// get gives a pod as last seen, nil when there is none, and what is closed at the next change.
func (w *pods) get(namespace, name string) (*pod, <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.all[namespace+"/"+name], w.changed
}

// of gives the pods of a build's service.
func (w *pods) of(namespace, build string) ([]*pod, <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []*pod
	for _, p := range w.builds[namespace+"/"+build] {
		out = append(out, p)
	}
	return out, w.changed
}

// carrying gives the pod of a Job or a source by its execution, the newest that is not ending first.
func (w *pods) carrying(namespace, execution string) (*pod, <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var found *pod
	for _, p := range w.all {
		if p.namespace == namespace && p.execution == execution && (found == nil || found.ending || found.over) {
			found = p
		}
	}
	return found, w.changed
}

// instancesGone is a number that has grown if an instance of the build may have gone since it was last
// asked for.
func (w *pods) instancesGone(namespace, build string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.gone[namespace+"/"+build] + w.gaps
}

// lastLines are what a container said last before it ended.
func (c *cluster) lastLines(ctx context.Context, namespace, name string) string {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	for _, previous := range []bool{true, false} {
		r, err := c.kube.CoreV1().Pods(namespace).GetLogs(name, &corev1.PodLogOptions{Container: containerName, Previous: previous, TailLines: ptr(int64(20))}).Stream(ctx)
		if err != nil {
			continue
		}
		text, err := io.ReadAll(io.LimitReader(r, 16<<10))
		_ = r.Close()
		// The kubelet answers in words where a container's log is gone.
		if said := strings.TrimSpace(string(text)); err == nil && said != "" && !strings.HasPrefix(said, "unable to retrieve container logs") {
			return said
		}
	}
	return ""
}
