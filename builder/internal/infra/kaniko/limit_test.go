package kaniko

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/pelton-run/pelton/platform/kit/registrytest"
)

// TestLimit: what is waited for does not count.
func TestLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pass := func(d time.Duration) { <-time.After(d); synctest.Wait() }
		ctx, l := limited(t.Context(), 10*time.Second)
		defer l.stop()
		pass(4 * time.Second)
		one, two := l.wait(), l.wait()
		pass(time.Hour)
		one()
		one()
		pass(time.Hour)
		require.NoError(t, ctx.Err(), "the second wait goes on")
		two()
		pass(5 * time.Second)
		require.NoError(t, ctx.Err())
		pass(2 * time.Second)
		require.Error(t, ctx.Err())
	})
}

// TestRuns: the time of a build counts while a container of it runs, and not before, nor while its next pod is waited for.
func TestRuns(t *testing.T) {
	p := podOf("p", func(*corev1.Pod) {})
	f, _, _ := following(jobOf(), p)
	var told []bool
	f.runs = func(yes bool) { told = append(told, yes) }
	look := func() {
		f.see(t.Context(), p)
		r, err := f.look(t.Context(), map[types.UID]*corev1.Pod{p.UID: p})
		require.NoError(t, err)
		require.Nil(t, r)
	}
	look()
	require.Empty(t, told)
	p.Status.InitContainerStatuses[0].State.Running = &corev1.ContainerStateRunning{}
	look()
	look()
	require.Equal(t, []bool{true}, told)
	p.Status.InitContainerStatuses[0].State, p.Status.Phase = exit(137, "Error", ""), corev1.PodFailed
	look()
	require.Equal(t, []bool{true, false}, told)
}

// TestDirectWaits: a build that waited longer than its limit for another one of the same has all its time.
func TestDirectWaits(t *testing.T) {
	r := direct(t, registrytest.Shared(t), func(s *Settings) { s.Timeout = 4 * time.Second })
	o := r.order(plainPython(""))
	unlock, err := r.b.lock(t.Context(), o.Project+"/"+o.Build)
	require.NoError(t, err)
	time.AfterFunc(5*time.Second, unlock)
	r.build(o)
}
