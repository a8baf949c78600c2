package conf_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/kit/conf"
	"github.com/pelton-run/pelton/platform/kit/fault"
)

type settings struct {
	HTTP struct {
		Listen string        `yaml:"listen"`
		Grace  time.Duration `yaml:"grace"`
		Hosts  []string      `yaml:"hosts"`
	} `yaml:"http"`
	Cap  int  `yaml:"cap"`
	Open bool `yaml:"open"`
}

const defaults = "http: {listen: '127.0.0.1:8080', grace: 5s}\ncap: 4\n"

func load(t *testing.T, file string, environ []string, set map[string]string) (settings, error) {
	t.Helper()
	path := ""
	if file != "" {
		path = filepath.Join(t.TempDir(), "s.yaml")
		require.NoError(t, os.WriteFile(path, []byte(file), 0o600))
	}
	var s settings
	return s, conf.Load(&s, []byte(defaults), path, "PELTON_", environ, set)
}

func TestEachLayerWinsOverTheOneBefore(t *testing.T) {
	var s settings
	path := filepath.Join(t.TempDir(), "s.yaml")
	require.NoError(t, os.WriteFile(path, []byte("http: {grace: 7s}\ncap: 5\nopen: true\n"), 0o600))
	require.NoError(t, conf.Load(&s, []byte(defaults), path, "PELTON_", []string{"PELTON_CAP=6", "PELTON_HTTP_HOSTS=a.example, b.example", "OTHER=1"}, map[string]string{"http.listen": ":9"}))
	require.Equal(t, ":9", s.HTTP.Listen)
	require.Equal(t, 7*time.Second, s.HTTP.Grace)
	require.Equal(t, []string{"a.example", "b.example"}, s.HTTP.Hosts)
	require.Equal(t, 6, s.Cap)
	require.True(t, s.Open)
}

func TestMistakesNameTheSetting(t *testing.T) {
	for name, c := range map[string]struct {
		file    string
		environ []string
		set     map[string]string
		want    string
	}{
		"misspelt key":    {"http: {lisen: x}\n", nil, nil, "did you mean listen?"},
		"unknown key":     {"zebra: 1\n", nil, nil, "is no setting"},
		"no duration":     {"", []string{"PELTON_HTTP_GRACE=soon"}, nil, `"soon" is no duration such as 30s`},
		"no number":       {"", []string{"PELTON_CAP=many"}, nil, `"many" is no whole number`},
		"no boolean":      {"", nil, map[string]string{"open": "perhaps"}, `"perhaps" is neither true nor false`},
		"unknown setting": {"", nil, map[string]string{"http.lisen": "x"}, "did you mean http.listen?"},
		"not YAML":        {"http: [", nil, nil, "s.yaml"},
		"wrong type":      {"cap: {a: 1}\n", nil, nil, "s.yaml"},
	} {
		_, err := load(t, c.file, c.environ, c.set)
		require.True(t, fault.Is(err, fault.Invalid), "%s: %v", name, err)
		require.ErrorContains(t, err, c.want, name)
	}
	var s settings
	require.ErrorContains(t, conf.Load(&s, nil, "/nowhere/s.yaml", "PELTON_", nil, nil), "cannot be read")
}
