package knative

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/serving/pkg/apis/serving"

	"github.com/pelton-run/pelton/platform/runner/internal/app"
	"github.com/pelton-run/pelton/platform/runner/internal/app/apptest"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
)

// listener keeps what is told of waiting.
type listener struct {
	*apptest.Told
	said chan string
}

func newListener() *listener { return &listener{apptest.NewTold(), make(chan string, 100)} }

func (l *listener) Progress(_ float64, note string) { l.said <- note }

// hears waits for a note that contains the words.
func (l *listener) hears(t *testing.T, words string) {
	t.Helper()
	late := time.After(30 * time.Second)
	for {
		select {
		case note := <-l.said:
			if strings.Contains(note, words) {
				return
			}
			t.Logf("said: %s", note)
		case <-late:
			t.Fatalf("%q was not told", words)
		}
	}
}

const overQuota = `Error creating: pods "x" is forbidden: exceeded quota: pelton, requested: pods=1, used: pods=1, limited: pods=1`

// TestAPodThatAQuotaRefusesIsWaitedForInWords: there is no pod that could tell.
func TestAPodThatAQuotaRefusesIsWaitedForInWords(t *testing.T) {
	event := func(s *site, kind, name, message string, at time.Time) {
		_, err := s.kube.CoreV1().Events("pelton-acme").Create(t.Context(), &corev1.Event{ObjectMeta: metav1.ObjectMeta{Name: kind + at.Format("150405"), Namespace: "pelton-acme"},
			InvolvedObject: corev1.ObjectReference{Kind: kind, Name: name}, Reason: "FailedCreate", Message: message, LastTimestamp: metav1.NewTime(at)}, metav1.CreateOptions{})
		require.NoError(t, err)
	}
	t.Run("a Job's", func(t *testing.T) {
		s, r, b := bare(t, nil)
		event(s, "Job", jobName("x1"), overQuota, time.Now())
		event(s, "Job", jobName("x1"), "something before", time.Now().Add(-time.Hour))
		event(s, "Job", jobName("another"), "another's", time.Now().Add(time.Hour))
		x := apptest.Attempt("x1", b, "")
		x.Limit = time.Hour
		k := newListener()
		r.Start(x, k)
		k.hears(t, "waiting for an instance: the project's quota is exhausted: pelton, requested")
		require.False(t, k.HasEnded(), "it waits for room")
	})
	t.Run("a Job's that is refused for good", func(t *testing.T) {
		s, r, b := bare(t, nil)
		r.set.DeployTimeout = 5 * time.Second
		event(s, "Job", jobName("x1"), "Error creating: violates PodSecurity", time.Now())
		x := apptest.Attempt("x1", b, "")
		x.Limit = time.Hour
		k := newListener()
		r.Start(x, k)
		k.hears(t, "the cluster refuses its pod: Error creating: violates PodSecurity")
		e := k.End(t)
		require.Equal(t, app.Failed, e.Outcome)
		require.Contains(t, e.Error.Message, "violates PodSecurity")
	})
	t.Run("a source's", func(t *testing.T) {
		s, r, _ := bare(t, nil)
		event(s, "StatefulSet", sourceName("acme", "w", "s"), overQuota, time.Now())
		k := newListener()
		r.Start(apptest.Attempt("x1", build(func(b *domain.Build) { b.Kind = "Source" }), ""), k)
		k.hears(t, "waiting for an instance: the project's quota is exhausted")
	})
	t.Run("a service's", func(t *testing.T) {
		s, r, b := bare(t, nil)
		_, err := s.kube.AppsV1().Deployments("pelton-acme").Create(t.Context(), &appsv1.Deployment{
			ObjectMeta: metav1.ObjectMeta{Name: "d", Namespace: "pelton-acme", Labels: map[string]string{serving.ServiceUIDLabelKey: ""}},
			Status:     appsv1.DeploymentStatus{Conditions: []appsv1.DeploymentCondition{{Type: appsv1.DeploymentReplicaFailure, Status: corev1.ConditionTrue, Message: overQuota}}}}, metav1.CreateOptions{})
		require.NoError(t, err)
		k, err := r.backend("acme", b)
		require.NoError(t, err)
		sink := newListener()
		u := &run{r: r, b: k, x: apptest.Attempt("x1", b, ""), role: roleService, sink: sink}
		s.eventually(func() bool { u.explain(); return len(sink.said) > 0 }, "told")
		sink.hears(t, "waiting for an instance: the project's quota is exhausted")
	})
}
