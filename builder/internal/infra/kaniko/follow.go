package kaniko

import (
	"bufio"
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/pelton-run/pelton/builder/internal/app"
	"github.com/pelton-run/pelton/builder/internal/infra/kaniko/spec"
)

// follower sees one Job through: its log as it comes, its end as soon as a container's state tells
// it (a Job's own status comes seconds later).
type follower struct {
	c       *cluster
	job     string
	pending time.Duration
	log     func(string)
	runs    func(bool) // told when a container runs, and when none does any more; nil = nobody asks
	running bool

	mu    sync.Mutex
	over  bool
	told  int      // bytes
	tail  []string // the last lines of commands, for the words of an error
	ended []*reading

	reading map[types.UID]map[string]*reading
	lost    map[types.UID]bool
	given   map[types.UID]bool // pods that were given up
	said    string             // the last reason for waiting that was told
	since   time.Time          // that nothing has run
}

// reading is a container's log being read.
type reading struct{ done chan struct{} }

// keptLines are those that an error may quote from.
const keptLines = 400

// glance is how often is looked after what no watch tells: a Job that gets no pod, a wait that is too long.
const glance = time.Second

// run returns when the Job has ended, or ctx has. A result with an Error is the build's own end.
func (f *follower) run(ctx context.Context) (spec.Result, error) {
	f.reading, f.lost, f.given, f.since = map[types.UID]map[string]*reading{}, map[types.UID]bool{}, map[types.UID]bool{}, time.Now()
	reads, stop := context.WithCancel(ctx)
	defer stop()
	tick := time.NewTicker(glance)
	defer tick.Stop()
	defer f.shut()
	var away time.Time
	for {
		r, err := f.watch(ctx, reads, tick.C)
		switch {
		case r != nil:
			f.finish(ctx)
			return *r, nil
		case ctx.Err() != nil:
			return spec.Result{}, ctx.Err()
		case err == nil:
			away = time.Time{}
			continue
		}
		// The cluster may be away for a while: the Job does not need us.
		var final *app.Error
		if errors.As(err, &final) && final.Kind != "network" {
			return spec.Result{}, err
		}
		if away.IsZero() {
			away = time.Now()
			f.tell("waiting: " + err.Error())
		}
		if time.Since(away) > maxAway {
			return spec.Result{}, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

// maxAway is how long a cluster may be out of reach before a build is given up.
const maxAway = 5 * time.Minute

// tell logs a line, until the build has ended.
func (f *follower) tell(line string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.over {
		f.log(line)
	}
}

func (f *follower) shut() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.over = true
}

// watch lists and watches once; nil, nil asks for another time.
func (f *follower) watch(ctx, reads context.Context, tick <-chan time.Time) (*spec.Result, error) {
	pods := f.c.client.CoreV1().Pods(f.c.namespace)
	of := metav1.ListOptions{LabelSelector: "batch.kubernetes.io/job-name=" + f.job}
	list, err := pods.List(ctx, of)
	if err != nil {
		return nil, f.c.words("list pods", err)
	}
	now := map[types.UID]*corev1.Pod{}
	for i := range list.Items {
		now[list.Items[i].UID] = &list.Items[i]
		if r := f.see(reads, &list.Items[i]); r != nil {
			return r, nil
		}
	}
	of.ResourceVersion = list.ResourceVersion
	w, err := pods.Watch(ctx, of)
	if err != nil {
		return nil, f.c.words("watch pods", err)
	}
	defer w.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case e, ok := <-w.ResultChan():
			if !ok || e.Type == watch.Error {
				return nil, nil
			}
			p, ok := e.Object.(*corev1.Pod)
			if !ok {
				continue
			}
			if e.Type == watch.Deleted {
				delete(now, p.UID)
				f.gone(p.UID, "its pod was deleted")
				continue
			}
			now[p.UID] = p
			if r := f.see(reads, p); r != nil {
				return r, nil
			}
		case <-tick:
			if r, err := f.look(ctx, now); r != nil || err != nil {
				return r, err
			}
		}
	}
}

// see takes in what a pod says.
func (f *follower) see(ctx context.Context, p *corev1.Pod) *spec.Result {
	s := read(p)
	for _, container := range s.logs {
		f.readLog(ctx, p, container)
	}
	if len(s.logs) > 0 && s.lost == "" && !f.lost[p.UID] { // what is dead is no sign that the build goes on
		f.since, f.said = time.Now(), ""
	}
	if s.result != nil {
		return s.result
	}
	if s.lost != "" {
		f.gone(p.UID, s.lost)
	}
	if s.never {
		return failed("internal", "builder.executor", s.stuck)
	}
	return nil
}

func (f *follower) gone(id types.UID, why string) {
	if !f.lost[id] {
		f.lost[id], f.since = true, time.Now()
		f.tell("the build was interrupted, " + why + "; it starts again")
	}
}

// look finds what does not go on: a Job that ended by itself or is gone, pods that do not start.
func (f *follower) look(ctx context.Context, now map[types.UID]*corev1.Pod) (*spec.Result, error) {
	waits := ""
	live := 0
	for _, p := range now {
		if !f.given[p.UID] && overdue(p, time.Now()) {
			f.giveUp(ctx, p)
		}
		if f.lost[p.UID] {
			continue
		}
		live++
		s := read(p)
		if len(s.logs) > 0 && s.stuck == "" {
			f.turn(true)
			return nil, nil
		}
		waits = s.stuck
	}
	f.turn(false)
	if live == 0 {
		j, err := f.c.client.BatchV1().Jobs(f.c.namespace).Get(ctx, f.job, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return failed("internal", "", "the build's Job was deleted from outside: scan the repository again"), nil
		}
		if err != nil {
			return nil, f.c.words("read a Job", err)
		}
		if r := over(j); r != nil {
			return r, nil
		}
		if waits = f.c.refusals(ctx, f.job); waits != "" {
			waits = "the cluster makes no pod for the build: " + waits
		}
	}
	if waits != "" && waits != f.said {
		f.said = waits
		f.tell("waiting: " + waits)
	}
	if time.Since(f.since) > f.pending {
		if waits == "" {
			waits = "the cluster gave no reason; look at the Job " + f.job + " in the namespace " + f.c.namespace
		}
		return failed("timeout", "builder.pending", "the build did not start within "+f.pending.String()+": "+waits), nil
	}
	return nil, nil
}

// turn tells of a change.
func (f *follower) turn(running bool) {
	if f.running != running && f.runs != nil {
		f.runs(running)
	}
	f.running = running
}

// giveUp ends a pod that its node does not end. What the cluster refuses is not asked for again: the build may go on when
// the node does.
func (f *follower) giveUp(ctx context.Context, p *corev1.Pod) {
	err := f.c.giveUp(ctx, p)
	var final *app.Error
	switch {
	case err == nil:
		f.tell("the node " + p.Spec.NodeName + " does not answer: its pod is given up")
	case errors.As(err, &final) && final.Kind != "network":
		f.tell("the node " + p.Spec.NodeName + " does not answer, and its pod stays: " + err.Error())
	default:
		return
	}
	f.given[p.UID] = true
}

// readLog reads a container's log, once.
func (f *follower) readLog(ctx context.Context, p *corev1.Pod, container string) {
	of := f.reading[p.UID]
	if of == nil {
		of = map[string]*reading{}
		f.reading[p.UID] = of
	}
	if of[container] != nil {
		return
	}
	r := &reading{done: make(chan struct{})}
	of[container] = r
	f.ended = append(f.ended, r)
	var before *reading
	if len(f.ended) > 1 {
		before = f.ended[len(f.ended)-2]
	}
	go func() {
		defer close(r.done)
		if before != nil {
			<-before.done // lines of one container after the other's
		}
		// A stream that breaks off is taken up behind the lines that came.
		seen := 0
		for range 20 {
			n, again := f.stream(ctx, p.Name, container, seen)
			seen += n
			if !again || ctx.Err() != nil {
				return
			}
		}
	}()
}

// maxLine bounds one line of a log, in bytes.
const maxLine = 64 << 10

func (f *follower) stream(ctx context.Context, pod, container string, skip int) (lines int, again bool) {
	rc, err := f.c.client.CoreV1().Pods(f.c.namespace).GetLogs(pod, &corev1.PodLogOptions{Container: container, Follow: true}).Stream(ctx)
	if err != nil {
		return 0, !apierrors.IsNotFound(err) && !apierrors.IsBadRequest(err)
	}
	defer rc.Close()
	r := bufio.NewReaderSize(rc, maxLine)
	n := 0
	for {
		line, err := r.ReadSlice('\n')
		if len(line) > 0 && (err == nil || err == io.EOF || err == bufio.ErrBufferFull) { //nolint:errorlint // by their documents, exactly those
			if n++; n > skip && !f.line(strings.TrimRight(string(line), "\r\n")) {
				return n - skip, false
			}
		}
		if err != nil && err != bufio.ErrBufferFull { //nolint:errorlint // the same
			return max(0, n-skip), err != io.EOF
		}
	}
}

// maxLog is how much of a build's output is told, in bytes, as of a build on this machine.
const maxLog = 64 << 20

// line takes a line in; false asks for no more.
func (f *follower) line(text string) bool {
	f.mu.Lock()
	f.told += len(text) + 1
	full := f.told > maxLog
	f.mu.Unlock()
	if full {
		f.tell("… and more, which is left out")
		return false
	}
	f.tell(text)
	if strings.HasPrefix(text, "# ") {
		return true // the executor's own, and kaniko's
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.tail = append(f.tail, text); len(f.tail) > keptLines {
		f.tail = f.tail[len(f.tail)-keptLines:]
	}
	return true
}

// finish waits for the logs that are still coming; they end with their containers.
func (f *follower) finish(ctx context.Context) {
	late := time.NewTimer(5 * time.Second)
	defer late.Stop()
	for _, r := range f.ended {
		select {
		case <-r.done:
		case <-late.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// output is what the commands of the build said last.
func (f *follower) output() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return strings.Join(f.tail, "\n")
}
