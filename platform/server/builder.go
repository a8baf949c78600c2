package server

import (
	"strings"
	"time"

	"github.com/pelton-run/pelton/builder"
	"github.com/pelton-run/pelton/platform/kit/fault"
)

// builderConfig are the settings of the builder. All but the first three are for kaniko:.
type builderConfig struct {
	Backend             string        `yaml:"backend"`
	Parallel            int           `yaml:"parallel"`
	Timeout             time.Duration `yaml:"timeout"`
	Registry            string        `yaml:"registry"`
	RegistryInsecure    []string      `yaml:"registry_insecure"`
	RegistryCredentials string        `yaml:"registry_credentials"`
	RegistryCA          string        `yaml:"registry_ca"`
	PullCredentials     string        `yaml:"pull_credentials"`
	Kubeconfig          string        `yaml:"kubeconfig"`
	Namespace           string        `yaml:"namespace"`
	Executor            string        `yaml:"executor"`
	ExecutorCredentials string        `yaml:"executor_credentials"`
	Images              struct {
		Python3 string `yaml:"python3"`
		Nodejs  string `yaml:"nodejs"`
		Go      string `yaml:"go"`
		GoBuild string `yaml:"go_build"`
	} `yaml:"images"`
	Proxy       string   `yaml:"proxy"`
	NoProxy     []string `yaml:"no_proxy"`
	BuildEnv    string   `yaml:"build_env"`
	HostNetwork bool     `yaml:"host_network"`
	Nameservers []string `yaml:"nameservers"`

	NetworkPolicy bool     `yaml:"network_policy"`
	NetworkAllow  []string `yaml:"network_allow"`

	Limits struct {
		CPU    string `yaml:"cpu"`
		Memory string `yaml:"memory"`
		Disk   string `yaml:"disk"`
	} `yaml:"limits"`
	Pending time.Duration `yaml:"pending"`
}

func (c Config) clusterBuilds() bool { return strings.HasPrefix(c.Builder.Backend, "kaniko:") }

// checkBuilder checks what does not need a look at files or a cluster; the builder checks the rest.
func (c Config) checkBuilder() (bad []fault.Field) {
	if !c.clusterBuilds() || !c.runs("builder") {
		return nil
	}
	if !c.remoteFiles() {
		bad = append(bad, fault.Field{Path: "files", Message: "is a folder of this machine while builder.backend is kaniko:", Remedy: "give files: s3://HOST:PORT/BUCKET, which build Jobs reach"})
	}
	if c.Builder.Registry == "" {
		bad = append(bad, fault.Field{Path: "builder.registry", Message: "is missing while builder.backend is kaniko:", Remedy: "give HOST[:PORT]/PREFIX, such as registry.example.com/pelton"})
	}
	if c.Builder.Pending < time.Second {
		bad = append(bad, fault.Field{Path: "builder.pending", Message: "is " + c.Builder.Pending.String(), Remedy: "give at least 1s, such as 5m"})
	}
	if c.Builder.Timeout < time.Second {
		bad = append(bad, fault.Field{Path: "builder.timeout", Message: "is " + c.Builder.Timeout.String(), Remedy: "give at least 1s, such as 15m"})
	}
	return bad
}

// kaniko are the settings of builds in a cluster, nil when they run on this machine.
func (c Config) kaniko() (*builder.Kaniko, error) {
	if !c.clusterBuilds() {
		return nil, nil
	}
	wrapper, err := wrapperPath()
	if err != nil {
		return nil, err
	}
	b := c.Builder
	return &builder.Kaniko{
		Registry: b.Registry, RegistryInsecure: b.RegistryInsecure, RegistryCredentials: b.RegistryCredentials, RegistryCA: b.RegistryCA, PullCredentials: b.PullCredentials,
		Kubeconfig: b.Kubeconfig, Namespace: b.Namespace, Executor: b.Executor, ExecutorCredentials: b.ExecutorCredentials,
		Images: builder.KanikoImages{Python3: b.Images.Python3, Nodejs: b.Images.Nodejs, Go: b.Images.Go, GoBuild: b.Images.GoBuild},
		Proxy:  b.Proxy, NoProxy: b.NoProxy, BuildEnv: b.BuildEnv, HostNetwork: b.HostNetwork, Nameservers: b.Nameservers,
		NetworkPolicy: b.NetworkPolicy, NetworkAllow: b.NetworkAllow,
		Limits: builder.KanikoLimits{CPU: b.Limits.CPU, Memory: b.Limits.Memory, Disk: b.Limits.Disk}, Pending: b.Pending, Wrapper: wrapper,
	}, nil
}
