package knative

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestClusterProjects: a pod of one project executes nothing of another: by the route that it shares with the platform its
// calls are refused for want of a token for that action, and the action's pods it does not reach at all. Without the network
// policy it would reach them, which shows that the policy is what keeps it off, and is refused there for the same want.
func TestClusterProjects(t *testing.T) {
	k := openReal(t)
	r := k.runner(t, "&max-scale=1&scale-down-delay=5m")
	b := k.build(t, reports, 8)
	require.NoError(t, r.Ensure(t.Context(), "acme", b))
	require.NoError(t, r.ensureProject(t.Context(), "other"))
	image := k.image(t, "base/static:1", map[string][]byte{"caller": k.program(t, "caller")})
	ns := r.set.namespaceOf("acme")
	pods, _ := r.pods.of(ns, shortBuild(b.Digest))
	require.NotEmpty(t, pods)
	host := serviceName(b.Action, b.Digest) + "." + ns + ".svc.cluster.local"
	places := map[string]string{"route": host + ":80", "proxy": hostPort(pods[0].ip, queuePort), "program": hostPort(pods[0].ip, userPort)}
	tokens := map[string]string{"none": ""}
	for name, audience := range map[string]string{"others": audienceOf("other", b.Digest), "own": audienceOf("acme", b.Digest)} {
		token, err := r.key.Token(audience, time.Now().Add(-time.Minute), time.Now().Add(10*time.Minute))
		require.NoError(t, err)
		tokens[name] = token
	}
	for _, fenced := range []bool{true, false} {
		t.Run(fmt.Sprint(fenced), func(t *testing.T) {
			if !fenced {
				require.NoError(t, r.cluster.remove(t.Context(), resources["NetworkPolicy"], ns, "pelton"))
				t.Cleanup(r.renew)
			}
			type call struct{ Name, Target, Host, Token, Text string }
			var calls []call
			want := map[string]string{}
			for place, target := range places {
				for whose, token := range tokens {
					name := fmt.Sprintf("%s-%s-%t", place, whose, fenced)
					calls = append(calls, call{name, target, host, token, strconv.Quote(k.text(name, "0"))})
					switch {
					case fenced && place != "route":
						want[name] = "DeadlineExceeded"
					case whose == "own": // whoever has such a token is the runner
						want[name] = "OK"
					default:
						want[name] = "Unauthenticated"
					}
				}
			}
			text, err := json.Marshal(calls)
			require.NoError(t, err)
			got := map[string]string{}
			for line := range strings.Lines(k.podSays(t, r, r.set.namespaceOf("other"), image, text)) {
				name, said, _ := strings.Cut(strings.TrimSpace(line), " ")
				if _, ok := want[name]; ok && !strings.Contains(said, " ") {
					got[name] = said
				}
			}
			require.Equal(t, want, got)
			for name, said := range want {
				require.Equal(t, said == "OK", k.log.count("begin/"+name) == 1, name)
				require.Equal(t, said == "OK", k.log.count("end/"+name) == 1, name)
			}
		})
	}
}

// podSays runs the program caller as a pod and gives what it printed.
func (k *real) podSays(t *testing.T, r *Runner, namespace, image string, calls []byte) string {
	t.Helper()
	pods := r.cluster.kube.CoreV1().Pods(namespace)
	p, err := pods.Create(t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{GenerateName: "caller-"}, Spec: corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever, AutomountServiceAccountToken: ptr(false),
		Containers: []corev1.Container{{Name: "caller", Image: image, Command: []string{"/caller"}, Env: []corev1.EnvVar{{Name: "CALLS", Value: string(calls)}}}}}}, metav1.CreateOptions{})
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		p, err = pods.Get(t.Context(), p.Name, metav1.GetOptions{})
		return err == nil && (p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed)
	}, 3*time.Minute, 200*time.Millisecond)
	text, err := pods.GetLogs(p.Name, &corev1.PodLogOptions{}).DoRaw(t.Context())
	require.NoError(t, err)
	t.Logf("%s", text)
	return string(text)
}
