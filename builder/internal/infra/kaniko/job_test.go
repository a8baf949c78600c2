package kaniko

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pelton-run/pelton/builder/internal/infra/kaniko/spec"
	"github.com/pelton-run/pelton/platform/kit/fault"
)

func usual() Settings {
	return Settings{Registry: "registry.example.com/pelton", Namespace: "pelton-builds", Executor: "registry.example.com/pelton/pelton@sha256:0", Kubeconfig: "",
		Images: Images{"py", "node", "static", "golang"}, Limits: Limits{"2", "4Gi", "20Gi"}, Timeout: 15 * time.Minute, Pending: 5 * time.Minute}
}

func TestMakeJob(t *testing.T) {
	in := task{Order: "0192F000-0000-7000-8000-000000000001", Project: "p", Build: someBuild, Kind: "deps", build: "B", push: "P",
		args: map[string]string{"HTTPS_PROXY": "http://proxy:1", "https_proxy": "http://proxy:1", "npm_config_cache": "x"}}
	j := makeJob(in, usual())
	require.Equal(t, "build-0192f000-0000-7000-8000-000000000001-deps", j.Name)
	require.Equal(t, "pelton-builds", j.Namespace)
	require.Equal(t, int64(20*60+60), *j.Spec.ActiveDeadlineSeconds)
	p := j.Spec.Template.Spec
	require.False(t, *p.AutomountServiceAccountToken)
	require.False(t, *p.EnableServiceLinks)
	require.False(t, p.HostNetwork)
	require.Empty(t, p.ServiceAccountName)
	require.Equal(t, corev1.SeccompProfileTypeRuntimeDefault, p.SecurityContext.SeccompProfile.Type)
	for _, v := range p.Volumes {
		require.Nil(t, v.HostPath, v.Name)
	}

	require.Len(t, p.InitContainers, 1)
	build, push := p.InitContainers[0], p.Containers[0]
	mounted := func(c corev1.Container) (names []string) {
		for _, m := range c.VolumeMounts {
			names = append(names, m.Name)
		}
		return names
	}
	require.Equal(t, []string{"kaniko", "out", "env", "pull"}, mounted(build), "no credentials for pushing where code of authors runs")
	require.Equal(t, []string{"out", "push"}, mounted(push), "nothing of the build's but its image")
	require.False(t, *build.SecurityContext.Privileged)
	require.False(t, *build.SecurityContext.AllowPrivilegeEscalation)
	require.Equal(t, []corev1.Capability{"ALL"}, build.SecurityContext.Capabilities.Drop)
	require.NotContains(t, build.SecurityContext.Capabilities.Add, corev1.Capability("SYS_ADMIN"))
	require.True(t, *push.SecurityContext.RunAsNonRoot)
	require.True(t, *push.SecurityContext.ReadOnlyRootFilesystem)
	require.Equal(t, "4Gi", build.Resources.Limits.Memory().String())
	require.Equal(t, "20Gi", build.Resources.Limits.StorageEphemeral().String())
	require.Equal(t, "512Mi", build.Resources.Requests.Memory().String())
	require.Equal(t, "500m", build.Resources.Requests.Cpu().String())
	var names []string
	for _, e := range build.Env {
		names = append(names, e.Name)
	}
	require.Equal(t, []string{spec.BuildVariable, "HTTPS_PROXY", "https_proxy"}, names)

	require.Len(t, p.Tolerations, 2)
	for i, key := range []string{"node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"} {
		require.Equal(t, corev1.Toleration{Key: key, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: new(int64(30))}, p.Tolerations[i])
	}
	in.fetch = "F"
	j = makeJob(in, usual())
	p = j.Spec.Template.Spec
	require.Len(t, p.InitContainers, 2)
	fetch := p.InitContainers[0]
	require.Equal(t, []string{"/usr/local/bin/executor", "fetch"}, fetch.Command)
	require.Equal(t, []string{"base", "push"}, mounted(fetch))
	require.True(t, *fetch.SecurityContext.RunAsNonRoot)
	require.Equal(t, []string{"kaniko", "out", "env", "pull", "base"}, mounted(p.InitContainers[1]), "the image, and still no credentials")
	require.True(t, p.InitContainers[1].VolumeMounts[4].ReadOnly)
	var ruled []string
	for _, r := range j.Spec.PodFailurePolicy.Rules[1:] {
		ruled = append(ruled, *r.OnExitCodes.ContainerName)
	}
	require.Equal(t, []string{"fetch", "build", "push"}, ruled)

	s := usual()
	require.Empty(t, p.ImagePullSecrets)
	s.ExecutorCredentials = "/some/file"
	require.Equal(t, []corev1.LocalObjectReference{{Name: "builder-executor"}}, makeJob(in, s).Spec.Template.Spec.ImagePullSecrets)

	s = usual()
	s.HostNetwork, s.Nameservers = true, []string{"192.0.2.1"}
	p = makeJob(in, s).Spec.Template.Spec
	require.True(t, p.HostNetwork)
	require.Equal(t, corev1.DNSNone, p.DNSPolicy)
	require.Equal(t, []string{"192.0.2.1"}, p.DNSConfig.Nameservers)
}

func pod(change func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{Status: corev1.PodStatus{
		InitContainerStatuses: []corev1.ContainerStatus{{Name: buildContainer, Image: "exe"}}, ContainerStatuses: []corev1.ContainerStatus{{Name: pushContainer, Image: "exe"}}}}
	change(p)
	return p
}

func exit(code int32, reason, message string) corev1.ContainerState {
	return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, Reason: reason, Message: message}}
}

func TestRead(t *testing.T) {
	waits := func(reason string) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Status.InitContainerStatuses[0].State.Waiting = &corev1.ContainerStateWaiting{Reason: reason, Message: "because"}
		}
	}
	ends := func(s corev1.ContainerState) func(*corev1.Pod) {
		return func(p *corev1.Pod) { p.Status.InitContainerStatuses[0].State = s }
	}
	pushed := func(s corev1.ContainerState) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Status.InitContainerStatuses[0].State, p.Status.ContainerStatuses[0].State = exit(0, "Completed", "{}"), s
		}
	}
	disrupted := func(then func(*corev1.Pod)) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			then(p)
			p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: "DeletionByTaintManager", Message: "node lost"})
		}
	}
	for name, c := range map[string]struct {
		pod                 func(*corev1.Pod)
		kind, says          string // of the end
		digest, lost, stuck string
		never               bool
	}{
		"fresh": {pod: func(*corev1.Pod) {}},
		"unschedulable": {pod: func(p *corev1.Pod) {
			p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable", Message: "0/1 nodes are available: 1 Insufficient memory."}}
		}, stuck: "no node takes the build: 0/1 nodes are available: 1 Insufficient memory."},
		"image":        {pod: waits("ImagePullBackOff"), stuck: "the image of builder.executor, exe, cannot be fetched: because"},
		"image's name": {pod: waits("InvalidImageName"), stuck: "the image of builder.executor, exe, cannot be used: because", never: true},
		"config":       {pod: waits("CreateContainerConfigError"), stuck: "the build's container cannot be made: because"},
		"starting":     {pod: waits("PodInitializing")},
		"built":        {pod: ends(exit(0, "Completed", "{}"))},
		"failed":       {pod: ends(exit(1, "Error", `{"error": {"kind": "run", "message": "a command failed"}}`)), kind: "run", says: "a command failed"},
		"memory":       {pod: ends(exit(137, "OOMKilled", "")), kind: "limit", says: "builder.limits.memory"},
		"killed":       {pod: ends(exit(137, "Error", ""))},
		"killed dead": {pod: func(p *corev1.Pod) {
			ends(exit(137, "Error", ""))(p)
			p.Status.Phase = corev1.PodFailed
		}, lost: "its pod was ended from outside (build: Error, status 137)"},
		"failed dead": {pod: func(p *corev1.Pod) {
			ends(exit(1, "Error", `{"error": {"kind": "run", "message": "a command failed"}}`))(p)
			p.Status.Phase = corev1.PodFailed
		}, kind: "run", says: "a command failed"},
		"refused by its node": {pod: func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }, lost: "its pod was ended from outside"},
		"node rebooted":       {pod: ends(exit(255, "Unknown", ""))},
		"its own 255":         {pod: ends(exit(255, "Error", "")), kind: "internal", says: "status 255"},
		"no words":            {pod: ends(exit(3, "Error", "")), kind: "internal", says: "status 3"},
		"no program":          {pod: ends(exit(128, "StartError", "exec: not found")), kind: "internal", says: "builder.executor"},
		"pushed":              {pod: pushed(exit(0, "Completed", `{"digest": "sha256:1"}`)), digest: "sha256:1"},
		"pushed nothing":      {pod: pushed(exit(0, "Completed", "")), kind: "internal", says: "without naming its image"},
		"refused":             {pod: pushed(exit(1, "Error", `{"error": {"kind": "network", "message": "the registry refuses", "setting": "builder.registry_credentials"}}`)), kind: "network", says: "refuses"},
		"node lost":           {pod: disrupted(ends(exit(143, "Error", ""))), lost: "its pod was taken away: node lost"},
		"ended in time":       {pod: disrupted(pushed(exit(0, "Completed", `{"digest": "sha256:1"}`))), digest: "sha256:1"},
		"deleted":             {pod: func(p *corev1.Pod) { now := metav1.Now(); p.DeletionTimestamp = &now }, lost: "its pod was deleted"},
		"evicted": {pod: func(p *corev1.Pod) {
			p.Status.Reason, p.Status.Message = "Evicted", "The node was low on resource: memory"
		}, lost: "its node took it away: The node was low on resource: memory"},
		"disk": {pod: func(p *corev1.Pod) {
			p.Status.Reason, p.Status.Message = "Evicted", "Pod ephemeral local storage usage exceeds the total limit of containers 20Gi."
		}, kind: "limit", says: "builder.limits.disk"},
	} {
		t.Run(name, func(t *testing.T) {
			s := read(pod(c.pod))
			require.Equal(t, c.lost, s.lost)
			require.Equal(t, c.stuck, s.stuck)
			require.Equal(t, c.never, s.never)
			switch {
			case c.kind != "":
				require.NotNil(t, s.result)
				require.NotNil(t, s.result.Error)
				require.Equal(t, c.kind, s.result.Error.Kind)
				require.Contains(t, s.result.Error.Message, c.says)
			case c.digest != "":
				require.NotNil(t, s.result)
				require.Equal(t, c.digest, s.result.Digest)
			default:
				require.Nil(t, s.result)
			}
		})
	}
}

func TestOver(t *testing.T) {
	require.Nil(t, over(&batchv1.Job{}))
	for reason, says := range map[string]string{batchv1.JobReasonDeadlineExceeded: "longer than its limit", batchv1.JobReasonBackoffLimitExceeded: "time and again", "PodFailurePolicy": "Job failed"} {
		r := over(&batchv1.Job{Status: batchv1.JobStatus{Conditions: []batchv1.JobCondition{{Type: batchv1.JobFailed, Status: corev1.ConditionTrue, Reason: reason, Message: "m"}}}})
		require.Contains(t, r.Error.Message, says)
	}
}

func TestSettings(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Settings)
		field  string
	}{
		"registry":     {func(s *Settings) { s.Registry = "" }, "builder.registry"},
		"executor":     {func(s *Settings) { s.Executor = "" }, "builder.executor"},
		"namespace":    {func(s *Settings) { s.Namespace = "" }, "builder.namespace"},
		"image":        {func(s *Settings) { s.Images.GoBuild = "" }, "builder.images.go_build"},
		"memory":       {func(s *Settings) { s.Limits.Memory = "lots" }, "builder.limits.memory"},
		"cpu":          {func(s *Settings) { s.Limits.CPU = "-1" }, "builder.limits.cpu"},
		"proxy":        {func(s *Settings) { s.Proxy = "proxy:3128" }, "builder.proxy"},
		"build_env":    {func(s *Settings) { s.BuildEnv = "/nonexistent" }, "builder.build_env"},
		"credentials":  {func(s *Settings) { s.RegistryCredentials = "/nonexistent" }, "builder.registry_credentials"},
		"executor's":   {func(s *Settings) { s.ExecutorCredentials = "job_test.go" }, "builder.executor_credentials"},
		"no such file": {func(s *Settings) { s.ExecutorCredentials = "/nonexistent" }, "builder.executor_credentials"},
		"kubeconfig":   {func(s *Settings) { s.Kubeconfig = "/nonexistent" }, "builder.kubeconfig"},
	} {
		t.Run(name, func(t *testing.T) {
			s := usual()
			c.change(&s)
			err := s.check()
			require.Error(t, err)
			fields := fault.As(err).Fields
			require.Len(t, fields, 1)
			require.Equal(t, c.field, fields[0].Path)
			require.NotEmpty(t, fields[0].Remedy)
		})
	}
	s := usual()
	require.NoError(t, s.check())
}

func TestEnvironment(t *testing.T) {
	s := usual()
	s.Proxy, s.NoProxy, s.BuildEnv = "http://proxy.example.com:3128", []string{"registry.example.com"}, t.TempDir()
	write := func(name, text string) {
		require.NoError(t, os.WriteFile(filepath.Join(s.BuildEnv, name), []byte(text), 0o600))
	}
	write("ca.crt", "pem")
	write("npmrc", "registry=https://npm.example.com\n")
	write("pip.conf", "[global]\nindex-url = https://pypi.example.com/simple\n")
	write("go.env", "# ours\nGOPROXY=https://go.example.com,direct\n\n")
	write("apt.conf", "")
	e, err := s.environment()
	require.NoError(t, err)
	require.Len(t, e.files, 5)
	require.Equal(t, "https://pypi.example.com/simple", e.index)
	for k, v := range map[string]string{
		"HTTPS_PROXY": s.Proxy, "no_proxy": "localhost,127.0.0.1,registry.example.com", "SSL_CERT_FILE": "/kaniko/buildenv/ca.crt", "npm_config_globalconfig": "/kaniko/buildenv/npmrc",
		"PIP_CONFIG_FILE": "/kaniko/buildenv/pip.conf", "UV_DEFAULT_INDEX": "https://pypi.example.com/simple", "GOPROXY": "https://go.example.com,direct", "APT_CONFIG": "/kaniko/buildenv/apt.conf",
	} {
		require.Equal(t, v, e.args[k], k)
	}
	for _, v := range e.args {
		require.False(t, strings.HasPrefix(v, s.BuildEnv), "no path of this machine")
	}
	write("go.env", "GOPROXY https://go.example.com\n")
	_, err = s.environment()
	require.ErrorContains(t, err, "go.env:1")
}
