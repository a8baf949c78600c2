package knative

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pelton-run/pelton/platform/runner/internal/app"
	"github.com/pelton-run/pelton/platform/runner/internal/app/apptest"
)

const echoes = "def handle(inputs):\n    return {'text': inputs['text']}\n"

// held starts an execution whose call stands in the activator's line.
func (s *site) held(r *Runner, x app.Execution, k app.Sink) *run {
	s.t.Helper()
	s.hold.Store(1)
	r.Start(x, k)
	s.eventually(func() bool { return s.inLine.Load() == 1 }, "in line")
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.runs[x.ID]
}

// probed probes and waits for what comes of it; open tells whether the call goes on.
func (s *site) probed(u *run) (open bool) {
	s.t.Helper()
	u.mu.Lock()
	opened := u.opened
	u.mu.Unlock()
	u.probe(opened)
	s.eventually(func() bool {
		u.mu.Lock()
		defer u.mu.Unlock()
		open = u.stream != nil && u.opened.Equal(opened)
		return !u.probing && (open || !u.opened.Equal(opened) || u.stream == nil)
	}, "probed")
	return open
}

// TestCallsThatStandInLineForLongerThanTheirTokenIsGood are refused when their turn comes, and say nothing of clocks.
func TestCallsThatStandInLineForLongerThanTheirTokenIsGood(t *testing.T) {
	program, err := buildWrapper()
	require.NoError(t, err)
	s := newSite(t, program)
	s.times, s.late = times{start: time.Second, skew: 100 * time.Millisecond}, 1100*time.Millisecond
	r := s.runner(t)
	b := s.build(t, echoes)
	require.NoError(t, r.Ensure(t.Context(), "acme", b))
	s.hold.Store(7)
	k := apptest.NewTold()
	r.Start(apptest.Attempt("x1", b, "hi"), k)
	e := k.End(t)
	require.Equal(t, app.Completed, e.Outcome, e.Error)
	require.EqualValues(t, 7, s.inLine.Load(), "seven were refused")
}

func TestATokenIsSignedAnewForACallAfterARefusal(t *testing.T) {
	_, r, _ := bare(t, nil)
	first, until, err := r.token("a")
	require.NoError(t, err)
	again, _, err := r.token("a")
	require.NoError(t, err)
	require.Equal(t, first, again)
	r.renewToken("a")
	_, later, err := r.token("a")
	require.NoError(t, err)
	require.True(t, later.After(until))
}

// TestAnExecutionInLineIsNotLost when a pod of its build goes meanwhile.
func TestAnExecutionInLineIsNotLost(t *testing.T) {
	program, err := buildWrapper()
	require.NoError(t, err)
	s := newSite(t, program)
	s.times.start = 6 * time.Second // the token stays good for a while after the probe on a crowded machine, too
	r, b := s.runner(t), s.build(t, echoes)
	require.NoError(t, r.Ensure(t.Context(), "acme", b))
	k := apptest.NewTold()
	u := s.held(r, apptest.Attempt("x1", b, "hi"), k)
	pods := s.kube.CoreV1().Pods("pelton-acme")
	_, err = pods.Create(t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "pelton-acme", UID: "p", Labels: map[string]string{labelManaged: "pelton", labelInstallation: "pelton", labelRole: roleService, labelBuild: shortBuild(b.Digest)}}}, metav1.CreateOptions{})
	require.NoError(t, err)
	s.sees(r, "p")
	require.NoError(t, pods.Delete(t.Context(), "p", metav1.DeleteOptions{}))
	s.eventually(func() bool { p, _ := r.pods.get("pelton-acme", "p"); return p == nil }, "it has gone")
	require.True(t, s.probed(u), "the call stays in line")
	require.False(t, k.HasEnded())
	close(s.letGo)
	e := k.End(t)
	require.Equal(t, app.Completed, e.Outcome, e.Error)
}

// TestACallThatHangsIsSentAgain once it surely began nothing.
func TestACallThatHangsIsSentAgain(t *testing.T) {
	s, r, b := ready(t, echoes)
	k := apptest.NewTold()
	require.False(t, s.probed(s.held(r, apptest.Attempt("x1", b, "hi"), k)))
	e := k.End(t)
	require.Equal(t, app.Completed, e.Outcome, e.Error)
}

// TestARouteThatStaysAwayIsToldOf, as an ingress that does not work.
func TestARouteThatStaysAwayIsToldOf(t *testing.T) {
	s, r, b := ready(t, echoes)
	s.missing.Store(1 << 20)
	k := newListener()
	r.Start(apptest.Attempt("x1", b, "hi"), k)
	k.hears(t, "waiting for an instance: the ingress does not know its service")
	s.missing.Store(0)
	require.Equal(t, app.Completed, k.End(t).Outcome)
}
