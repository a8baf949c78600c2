package install

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestMakeData: the pod that reaches the data has what services have, their keys one by one where these are asked
// for, no token of the cluster, and does not live for ever.
func TestMakeData(t *testing.T) {
	in := Inside{Name: "pelton", Namespace: "ns", Image: "i@sha256:00", S3Secret: "pelton-s3", PullSecret: "pull", CABundle: true}
	pod := makeData(in, true)
	require.Equal(t, "pelton-data", pod.Name)
	require.Equal(t, "ns", pod.Namespace)
	require.False(t, *pod.Spec.AutomountServiceAccountToken)
	require.EqualValues(t, 86400, *pod.Spec.ActiveDeadlineSeconds)
	require.Equal(t, "pull", pod.Spec.ImagePullSecrets[0].Name)
	c := pod.Spec.Containers[0]
	require.Equal(t, []string{"/usr/local/bin/pelton-adm", "hold"}, c.Command)
	require.True(t, *c.SecurityContext.ReadOnlyRootFilesystem)
	require.Equal(t, "SSL_CERT_DIR", c.Env[1].Name)
	require.Len(t, c.EnvFrom, 5)
	var keys []string
	for _, m := range c.VolumeMounts {
		if m.SubPath != "" {
			require.True(t, m.ReadOnly)
			keys = append(keys, m.MountPath)
		}
	}
	require.Equal(t, []string{"/var/lib/pelton/keys/authorization-keys/signing.pem", "/var/lib/pelton/keys/bridge-keys/secrets.key",
		"/var/lib/pelton/keys/runner-keys/calls.pem", "/var/lib/pelton/keys/runner-keys/secrets.key"}, keys)
	for _, m := range makeData(in, false).Spec.Containers[0].VolumeMounts {
		require.Empty(t, m.SubPath, "who restores writes keys")
	}
}

// TestKeysOf: an installation gets its own keys back, and those of a platform that was one process.
func TestKeysOf(t *testing.T) {
	have := map[string][]byte{"secrets.key": []byte("new"), "calls.pem": []byte("new")}
	for name, c := range map[string]struct{ keys, want map[string]string }{
		"of a cluster":           {map[string]string{"runner-keys/secrets.key": "r", "runner-keys/calls.pem": "c", "bridge-keys/secrets.key": "b"}, map[string]string{"secrets.key": "r", "calls.pem": "c"}},
		"of one process":         {map[string]string{"secrets.key": "s", "calls.pem": "c", "signing.pem": "i"}, map[string]string{"secrets.key": "s", "calls.pem": "c"}},
		"of one that lacks some": {map[string]string{"secrets.key": "s"}, map[string]string{"secrets.key": "s", "calls.pem": "new"}},
		"none":                   {nil, map[string]string{"secrets.key": "new", "calls.pem": "new"}},
	} {
		keys := map[string][]byte{}
		for k, v := range c.keys {
			keys[k] = []byte(v)
		}
		got := map[string]string{}
		for k, v := range keysOf("runner-keys", have, keys) {
			got[k] = string(v)
		}
		require.Equal(t, c.want, got, name)
	}
	require.Equal(t, []byte("new"), have["secrets.key"], "what is there is not changed")
}
