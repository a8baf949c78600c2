package kaniko

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/pelton-run/pelton/builder/internal/infra/kaniko/images"
	"github.com/pelton-run/pelton/builder/internal/infra/kaniko/spec"
	"github.com/pelton-run/pelton/builder/local"
	"github.com/pelton-run/pelton/platform/kit/fault"
)

// Settings of the backend; config/embedded.yaml says what each means. The fields' names are those of
// the settings below builder:.
type Settings struct {
	Registry            string
	RegistryInsecure    []string
	RegistryCredentials string
	RegistryCA          string
	PullCredentials     string
	Kubeconfig          string
	Namespace           string
	Executor            string
	ExecutorCredentials string
	Images              Images
	Proxy               string
	NoProxy             []string
	BuildEnv            string
	HostNetwork         bool
	Nameservers         []string
	NetworkPolicy       bool     // build pods are fenced off
	NetworkAllow        []string // HOST:PORT or NETWORK:PORT that they reach beside what the other settings name
	Limits              Limits
	Timeout             time.Duration // of one build
	Pending             time.Duration // how long a Job may wait for its first container

	Home    string // where sources are unpacked for a moment
	Wrapper string // path of the program that goes into images
}

// Images are those that actions are put on and compiled with.
type Images struct {
	Python3 string
	Nodejs  string
	Go      string // what a program in Go runs on
	GoBuild string // what it is compiled with
}

// Limits of a build's container, as Kubernetes writes quantities.
type Limits struct {
	CPU    string
	Memory string
	Disk   string
}

// check tells every setting that cannot be used at once.
func (s *Settings) check() error {
	var bad []fault.Field
	field := func(path, message, remedy string) {
		bad = append(bad, fault.Field{Path: "builder." + path, Message: message, Remedy: remedy})
	}
	for _, c := range []struct{ path, value, remedy string }{
		{"registry", s.Registry, "give HOST[:PORT]/PREFIX, such as registry.example.com/pelton"},
		{"executor", s.Executor, "give the platform's own image, by digest"},
		{"namespace", s.Namespace, "give the namespace that build Jobs run in, such as pelton-builds"},
		{"images.python3", s.Images.Python3, "give an image with python3 3.9 or newer"},
		{"images.nodejs", s.Images.Nodejs, "give an image with node 20.19 or newer and npm"},
		{"images.go", s.Images.Go, "give an image that a static program runs on"},
		{"images.go_build", s.Images.GoBuild, "give an image with Go"},
	} {
		if c.value == "" {
			field(c.path, "is missing", c.remedy)
		}
	}
	for _, c := range []struct{ path, value string }{{"limits.cpu", s.Limits.CPU}, {"limits.memory", s.Limits.Memory}, {"limits.disk", s.Limits.Disk}} {
		if q, err := resource.ParseQuantity(c.value); err != nil || q.Sign() <= 0 {
			field(c.path, fmt.Sprintf("is %q", c.value), "give a quantity as Kubernetes writes it, such as 2, 4Gi or 20Gi")
		}
	}
	if s.Proxy != "" {
		if u, err := url.Parse(s.Proxy); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			field("proxy", fmt.Sprintf("is %q", s.Proxy), "give the address of an HTTP proxy, such as http://proxy.example.com:3128")
		}
	}
	if s.BuildEnv != "" {
		if info, err := os.Stat(s.BuildEnv); err != nil || !info.IsDir() {
			field("build_env", s.BuildEnv+" is no folder", "give a folder with any of ca.crt, npmrc, pip.conf, apt.conf, *.env")
		}
	}
	for _, c := range []struct{ path, file string }{{"registry_credentials", s.RegistryCredentials}, {"pull_credentials", s.PullCredentials}, {"registry_ca", s.RegistryCA}, {"kubeconfig", s.Kubeconfig}} {
		if c.file == "" {
			continue
		}
		if _, err := os.Stat(c.file); err != nil {
			field(c.path, err.Error(), "give the path of a file, or leave it out")
		}
	}
	if _, err := s.executorPull(); err != nil {
		field("executor_credentials", err.Error(), "give a file as `docker login` writes it: {\"auths\": {\"HOST\": {\"auth\": …}}}")
	}
	for i, a := range s.NetworkAllow {
		if _, _, err := allowed(a); err != nil {
			field(fmt.Sprintf("network_allow[%d]", i), err.Error(), "give HOST:PORT or NETWORK:PORT, such as mirror.example.com:443 or 10.1.0.0/16:443")
		}
	}
	if len(bad) > 0 {
		return fault.InvalidFields(bad...)
	}
	return nil
}

// executorPull is what nodes pull the executor with, read anew each time, for whoever renews credentials replaces the
// file; nil without one.
func (s *Settings) executorPull() (map[string][]byte, error) {
	data, err := readAll(map[string]string{corev1.DockerConfigJsonKey: s.ExecutorCredentials})
	if err != nil || len(data) == 0 {
		return nil, err
	}
	var config struct {
		Auths map[string]json.RawMessage `json:"auths"`
	}
	if err := json.Unmarshal(data[corev1.DockerConfigJsonKey], &config); err != nil || len(config.Auths) == 0 {
		return nil, fmt.Errorf("%s names no registry under auths", s.ExecutorCredentials)
	}
	return data, nil
}

func (s *Settings) images() images.Config {
	return images.Config{Registry: s.Registry, Insecure: s.RegistryInsecure, Credentials: s.RegistryCredentials, CA: s.RegistryCA}
}

// environment is what builds are handed: files to mount, and arguments of RUN lines.
type environment struct {
	files map[string][]byte // of builder.build_env
	args  map[string]string
	index string // where Python packages come from
}

// maxEnv bounds the files of builder.build_env, in bytes: Kubernetes keeps at most 1 MiB in a secret.
const maxEnv = 900 << 10

var (
	variable = regexp.MustCompile(`^([A-Za-z_][A-Za-z0-9_]*)=(.*)$`)
	pipLine  = regexp.MustCompile(`^\s*(index-url|extra-index-url|trusted-host)\s*[=:]\s*(.+?)\s*$`)
)

// environment reads builder.build_env and the proxy. Its files are mounted below /kaniko, which no
// image gets anything of; ca.crt, npmrc, pip.conf and apt.conf are what they are called, *.env hold
// further variables, NAME=VALUE a line.
func (s *Settings) environment() (environment, error) {
	e := environment{files: map[string][]byte{}, index: local.DefaultIndex, args: map[string]string{
		"npm_config_cache": spec.Cache + "/npm", "npm_config_update_notifier": "false",
		"UV_CACHE_DIR": spec.Cache + "/uv", "UV_PYTHON_DOWNLOADS": "never", "UV_NO_PROGRESS": "1", "UV_LINK_MODE": "copy", "UV_NO_CONFIG": "1",
		"PIP_CACHE_DIR": spec.Cache + "/pip",
	}}
	if s.Proxy != "" {
		no := strings.Join(append([]string{"localhost", "127.0.0.1"}, s.NoProxy...), ",")
		for _, n := range []string{"HTTP_PROXY", "HTTPS_PROXY"} {
			e.args[n], e.args[strings.ToLower(n)] = s.Proxy, s.Proxy
		}
		e.args["NO_PROXY"], e.args["no_proxy"] = no, no
	}
	if s.BuildEnv == "" {
		return e, nil
	}
	names, err := filepath.Glob(filepath.Join(s.BuildEnv, "*"))
	if err != nil {
		return e, fault.InvalidField("builder.build_env", err.Error(), "give the plain path of a folder")
	}
	total := 0
	for _, file := range names {
		if info, err := os.Stat(file); err != nil || !info.Mode().IsRegular() {
			continue
		}
		data, err := os.ReadFile(file)
		if total += len(data); err == nil && total > maxEnv {
			err = fmt.Errorf("the files have more than %d bytes together", maxEnv)
		}
		if err != nil {
			return e, fault.InvalidField("builder.build_env", filepath.Base(file)+": "+err.Error(), "make it readable and smaller, or leave it out")
		}
		e.files[filepath.Base(file)] = data
	}
	at := func(name string) string { return spec.Settings + "/" + name }
	if e.files["ca.crt"] != nil {
		for _, n := range []string{"SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "npm_config_cafile"} {
			e.args[n] = at("ca.crt")
		}
	}
	if e.files["npmrc"] != nil {
		e.args["npm_config_globalconfig"] = at("npmrc")
	}
	if conf := e.files["pip.conf"]; conf != nil {
		e.args["PIP_CONFIG_FILE"] = at("pip.conf")
		e.pip(conf)
	}
	if e.files["apt.conf"] != nil {
		e.args["APT_CONFIG"] = at("apt.conf")
	}
	for _, name := range slices.Sorted(maps.Keys(e.files)) {
		if strings.HasSuffix(name, ".env") {
			if err := e.variables(name, e.files[name]); err != nil {
				return e, err
			}
		}
	}
	return e, nil
}

// pip hands uv, which reads no pip.conf, what pip would read in it.
func (e *environment) pip(conf []byte) {
	for lines := bufio.NewScanner(bytes.NewReader(conf)); lines.Scan(); {
		m := pipLine.FindStringSubmatch(lines.Text())
		if m == nil {
			continue
		}
		switch m[1] {
		case "index-url":
			e.index, e.args["UV_DEFAULT_INDEX"] = m[2], m[2]
		case "extra-index-url":
			e.args["UV_INDEX"] = m[2]
		case "trusted-host":
			e.args["UV_INSECURE_HOST"] = m[2]
		}
	}
}

func (e *environment) variables(name string, text []byte) error {
	n := 0
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		n++
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		m := variable.FindStringSubmatch(line)
		if m == nil {
			return fault.InvalidField("builder.build_env", fmt.Sprintf("%s:%d: %q is no NAME=VALUE", name, n, line), "write one variable a line, such as GOPROXY=https://proxy.example.com")
		}
		e.args[m[1]] = m[2]
		if strings.HasSuffix(m[1], "_PROXY") { // some programs read one, some the other
			e.args[strings.ToLower(m[1])] = m[2]
		}
		if m[1] == "UV_DEFAULT_INDEX" || m[1] == "PIP_INDEX_URL" {
			e.index, e.args["UV_DEFAULT_INDEX"] = m[2], m[2]
		}
	}
	return nil
}

// readAll reads the files of a secret; a missing path is no file.
func readAll(names map[string]string) (map[string][]byte, error) {
	out := map[string][]byte{}
	for name, file := range names {
		if file == "" {
			continue
		}
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		out[name] = data
	}
	return out, nil
}
