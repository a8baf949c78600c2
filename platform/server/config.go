// Package server is the composition root: settings become services, services one process.
package server

import (
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pelton-run/pelton/config"
	"github.com/pelton-run/pelton/eventing/bridge"
	"github.com/pelton-run/pelton/platform/kit/conf"
	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/kit/s3"
	"github.com/pelton-run/pelton/platform/runner"
)

// Version is set by the linker.
var Version = "dev"

// Config are the settings; config/embedded.yaml says what each means.
type Config struct {
	Home     string `yaml:"home"`
	Target   string `yaml:"target"`
	Replica  string `yaml:"replica"`
	Store    string `yaml:"store"`
	Bus      string `yaml:"bus"`
	Files    string `yaml:"files"`
	Deployer string `yaml:"deployer"`

	Authorization struct {
		URL          string `yaml:"url"`
		PasswordFile string `yaml:"password_file"`
	} `yaml:"authorization"`
	Bridge struct {
		Attempts       int           `yaml:"attempts"`
		Backoff        time.Duration `yaml:"backoff"`
		BackoffCap     time.Duration `yaml:"backoff_cap"`
		Timeout        time.Duration `yaml:"timeout"`
		PrivateTargets bool          `yaml:"private_targets"`
		Runner         string        `yaml:"runner"`
		Broker         string        `yaml:"broker"`
		Sink           string        `yaml:"sink"`
	} `yaml:"bridge"`
	Builder builderConfig `yaml:"builder"`
	HTTP    struct {
		Listen    string   `yaml:"listen"`
		Hosts     []string `yaml:"hosts"`
		PublicURL string   `yaml:"public_url"`
	} `yaml:"http"`
	Repository struct {
		Local bool `yaml:"local"`
	} `yaml:"repository"`
	Runner struct {
		Cap         int           `yaml:"cap"`
		Idle        time.Duration `yaml:"idle"`
		CancelGrace time.Duration `yaml:"cancel_grace"`
		Lease       time.Duration `yaml:"lease"`
		Beat        time.Duration `yaml:"beat"`
		Peers       struct {
			Listen  string `yaml:"listen"`
			Address string `yaml:"address"`
		} `yaml:"peers"`
		Retention struct {
			Runs  time.Duration `yaml:"runs"`
			Files time.Duration `yaml:"files"`
			Every time.Duration `yaml:"every"`
		} `yaml:"retention"`
	} `yaml:"runner"`
	S3 struct {
		Credentials string `yaml:"credentials"`
	} `yaml:"s3"`
	Stores struct {
		Authorization string `yaml:"authorization"`
		Repository    string `yaml:"repository"`
		Studio        string `yaml:"studio"`
		Runner        string `yaml:"runner"`
		Bridge        string `yaml:"bridge"`
	} `yaml:"stores"`
	TrustActions bool   `yaml:"trust_actions"`
	Log          string `yaml:"log"`
}

// services are the targets; each but webui emits to the exchange of its name.
var services = []string{"authorization", "repository", "builder", "studio", "runner", "bridge", "webui"}

// LoadConfig reads the settings and checks them.
func LoadConfig(file string, environ []string, set map[string]string) (Config, error) {
	var c Config
	if err := conf.Load(&c, config.Embedded, file, "PELTON_", environ, set); err != nil {
		return c, err
	}
	for _, e := range environ { // as Knative's SinkBinding gives it
		if sink, ok := strings.CutPrefix(e, "K_SINK="); ok && c.Bridge.Sink == "" {
			c.Bridge.Sink = sink
		}
	}
	var bad []fault.Field
	only := func(path, value string, prefixes ...string) {
		for _, p := range prefixes {
			if strings.HasPrefix(value, p) {
				return
			}
		}
		bad = append(bad, fault.Field{Path: path, Message: "is " + value, Remedy: "this version knows " + strings.Join(prefixes, " and ")})
	}
	only("store", c.Store, "embedded:", "postgres://")
	for path, value := range map[string]string{"stores.authorization": c.Stores.Authorization, "stores.repository": c.Stores.Repository, "stores.studio": c.Stores.Studio, "stores.runner": c.Stores.Runner, "stores.bridge": c.Stores.Bridge} {
		if value != "" {
			only(path, value, "postgres://")
		}
		if value != "" && c.alone() {
			bad = append(bad, fault.Field{Path: path, Message: "is given while the database is this process's own", Remedy: "give store: postgres://…, too, or leave it out"})
		}
	}
	only("bus", c.Bus, "mem:", "amqp://", "amqps://")
	only("files", c.Files, "file:", "s3://")
	only("deployer", c.Deployer, "process:", "knative:")
	only("builder.backend", c.Builder.Backend, "local:", "kaniko:")
	for t := range strings.SplitSeq(c.Target, ",") {
		only("target", t, append([]string{"all"}, services...)...)
	}
	bad = append(bad, c.checkDeployer()...)
	bad = append(bad, c.checkFiles()...)
	bad = append(bad, c.checkBuilder()...)
	bad = append(bad, c.checkSplit()...)
	bad = append(bad, c.checkReplica()...)
	bad = append(bad, c.checkRetention()...)
	bad = append(bad, c.checkBridge()...)
	if len(bad) > 0 {
		return c, fault.InvalidFields(bad...)
	}
	return c, nil
}

var replicaName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$`)

// runs tells whether this process has a service among its targets.
func (c Config) runs(service string) bool {
	targets := strings.Split(c.Target, ",")
	return slices.Contains(targets, "all") || slices.Contains(targets, service)
}

// split tells that other processes run the other services, and messages go over a broker.
func (c Config) split() bool { return !c.local() && !c.runs("all") }

// solo tells that this is a runner without any other service: what it runs is deployed over its HTTP API.
func (c Config) solo() bool { return c.Target == "runner" && c.local() && c.alone() }

// local tells that messages stay in this process.
func (c Config) local() bool { return c.Bus == "mem:" }

// checkSplit checks what a process that runs some of the services needs of the others.
func (c Config) checkSplit() (bad []fault.Field) {
	if !c.runs("all") && c.Target != "runner" && c.local() {
		bad = append(bad, fault.Field{Path: "target", Message: "is " + c.Target + " while messages stay in this process",
			Remedy: "give bus: amqp://…, or run target: all, and beside it, on the same store and home, replicas with target: runner"})
	}
	if !c.runs("all") && c.alone() && c.Target != "webui" && c.Target != "builder" && !c.solo() {
		bad = append(bad, fault.Field{Path: "target", Message: "is " + c.Target + " while the database is this process's own", Remedy: "give the store: postgres://… of the services"})
	}
	if c.split() && !c.runs("authorization") && c.needsIssuer() {
		if u, err := url.Parse(c.Authorization.URL); err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
			bad = append(bad, fault.Field{Path: "authorization.url", Message: "is " + strconv.Quote(c.Authorization.URL) + " while authorization is not among the targets",
				Remedy: "give the address of the process that has it, such as http://authorization:8080"})
		}
	}
	return bad
}

// needsIssuer tells whether a service of this process asks who calls.
func (c Config) needsIssuer() bool {
	return c.runs("repository") || c.runs("studio") || c.runs("runner") || c.runs("bridge")
}

// checkReplica checks what belongs to a process that is one of several.
func (c Config) checkReplica() (bad []fault.Field) {
	if c.Replica != "" && !replicaName.MatchString(c.Replica) {
		bad = append(bad, fault.Field{Path: "replica", Message: "is " + c.Replica, Remedy: "use letters, digits, dots, dashes and underscores, at most 63"})
	}
	if c.Replica != "" && c.alone() {
		bad = append(bad, fault.Field{Path: "replica", Message: "is " + c.Replica + " while the database is this process's own", Remedy: "give store: postgres://…, or leave it out"})
	}
	if c.Target == "runner" && c.local() && c.Replica == "" && !c.solo() {
		bad = append(bad, fault.Field{Path: "replica", Message: "is missing", Remedy: "give each process with target: runner a name of its own"})
	}
	if c.Runner.Beat <= 0 || c.Runner.Lease < 3*c.Runner.Beat {
		bad = append(bad, fault.Field{Path: "runner.lease", Message: "is " + c.Runner.Lease.String() + " with a beat of " + c.Runner.Beat.String(), Remedy: "make it at least three times runner.beat, which is more than 0"})
	}
	return bad
}

// checkBridge checks how events are delivered.
func (c Config) checkBridge() (bad []fault.Field) {
	b := c.Bridge
	if b.Attempts < 1 || b.Attempts > 100 {
		bad = append(bad, fault.Field{Path: "bridge.attempts", Message: "is " + strconv.Itoa(b.Attempts), Remedy: "give 1 to 100"})
	}
	if b.Backoff <= 0 || b.BackoffCap < b.Backoff {
		bad = append(bad, fault.Field{Path: "bridge.backoff", Message: "is " + b.Backoff.String() + " up to " + b.BackoffCap.String(), Remedy: "give more than 0, and bridge.backoff_cap at least as much"})
	}
	if u, err := url.Parse(b.Runner); b.Runner != "" || c.runs("bridge") && !c.runs("runner") {
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
			bad = append(bad, fault.Field{Path: "bridge.runner", Message: "is " + strconv.Quote(b.Runner), Remedy: "give the address of the process that has the target runner, such as http://runner:8080"})
		}
	}
	if b.Broker != "" && c.runs("bridge") {
		if err := bridge.CheckBroker("bridge.broker", b.Broker); err != nil {
			bad = append(bad, fault.As(err).Fields...)
		}
	}
	if u, err := url.Parse(b.Sink); b.Sink != "" && (err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "") {
		bad = append(bad, fault.Field{Path: "bridge.sink", Message: "is " + strconv.Quote(b.Sink), Remedy: "give the address of a Broker, such as http://broker-ingress.knative-eventing.svc/NAMESPACE/NAME"})
	}
	if b.Timeout < time.Second || b.Timeout > 5*time.Minute {
		bad = append(bad, fault.Field{Path: "bridge.timeout", Message: "is " + b.Timeout.String(), Remedy: "give 1s to 5m"})
	}
	return bad
}

// checkRetention checks how long history is kept.
func (c Config) checkRetention() (bad []fault.Field) {
	r := c.Runner.Retention
	if r.Runs < 0 || r.Runs > 0 && r.Runs < time.Second {
		bad = append(bad, fault.Field{Path: "runner.retention.runs", Message: "is " + r.Runs.String(), Remedy: "give at least 1s, such as 2160h for 90 days, or 0 for ever"})
	}
	if r.Files < time.Second {
		bad = append(bad, fault.Field{Path: "runner.retention.files", Message: "is " + r.Files.String(), Remedy: "give at least 1s, such as 48h: it covers uploads and results that are still to be noted"})
	}
	if r.Every < time.Second {
		bad = append(bad, fault.Field{Path: "runner.retention.every", Message: "is " + r.Every.String(), Remedy: "give at least 1s, such as 1h"})
	}
	return bad
}

// alone tells that no other process can use the store.
func (c Config) alone() bool { return strings.HasPrefix(c.Store, "embedded:") }

// runDir is the folder of this process's lock and state.
func (c Config) runDir(home string) string {
	switch {
	case c.Replica != "":
		return filepath.Join(home, "run", "replicas", c.Replica)
	case c.split():
		return filepath.Join(home, "run", "replicas", strings.ReplaceAll(c.Target, ",", "-"))
	}
	return filepath.Join(home, "run")
}

// checkDeployer checks what runs actions, and what that needs of other settings.
func (c Config) checkDeployer() (bad []fault.Field) {
	if !c.knative() {
		return nil
	}
	if f := fault.As(runner.CheckDeployer(c.Deployer)); f != nil {
		bad = append(bad, f.Fields...)
	}
	if !c.remoteFiles() {
		bad = append(bad, fault.Field{Path: "files", Message: "is " + c.Files + " with deployer: knative:, whose pods do not reach this machine's files", Remedy: "give files: s3://HOST:PORT/BUCKET"})
	}
	return bad
}

// knative tells that actions run in a cluster.
func (c Config) knative() bool { return strings.HasPrefix(c.Deployer, "knative:") }

// checkFiles checks where the filestore is.
func (c Config) checkFiles() (bad []fault.Field) {
	if !c.remoteFiles() {
		if c.S3.Credentials != "" {
			bad = append(bad, fault.Field{Path: "s3.credentials", Message: "is given while files is no s3:// URL", Remedy: "give files: s3://HOST:PORT/BUCKET, or leave it out"})
		}
		return bad
	}
	if _, err := s3.Parse("files", c.Files); err != nil {
		bad = append(bad, fault.As(err).Fields...)
	}
	if c.S3.Credentials == "" {
		bad = append(bad, fault.Field{Path: "s3.credentials", Message: "is missing", Remedy: "give the path of a YAML file with access_key: … and secret_key: …"})
	}
	return bad
}

func (c Config) remoteFiles() bool { return strings.HasPrefix(c.Files, "s3://") }

// bucket is where the filestore is, nil when it is a folder.
func (c Config) bucket() *s3.Config {
	if !c.remoteFiles() {
		return nil
	}
	out, _ := s3.Parse("files", c.Files) // LoadConfig has done so
	out.Credentials = c.S3.Credentials
	return &out
}

// filesDir is the folder of the filestore, "" when it is none.
func (c Config) filesDir() string {
	if c.remoteFiles() {
		return ""
	}
	dir := strings.TrimPrefix(strings.TrimPrefix(c.Files, "file:"), "//")
	if dir == "" {
		return filepath.Join(c.Home, "files")
	}
	return dir
}

// wrapperPath finds the wrapper beside this program or on PATH.
func wrapperPath() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	if real, err := filepath.EvalSymlinks(self); err == nil {
		self = real
	}
	p := filepath.Join(filepath.Dir(self), "wrapper")
	if _, err := os.Stat(p); err != nil {
		return "", fault.New(fault.Invalid, "the program `wrapper` is not beside peltond (%s): build both with make build", p)
	}
	return p, nil
}

// firstPassword is what authorization.password_file holds, "" without one.
func (c Config) firstPassword() (string, error) {
	if c.Authorization.PasswordFile == "" {
		return "", nil
	}
	data, err := os.ReadFile(c.Authorization.PasswordFile)
	if err != nil {
		return "", fault.InvalidField("authorization.password_file", "cannot be read: "+err.Error(), "give a file with the first administrator's password")
	}
	password := strings.TrimSpace(string(data))
	if len(password) < 12 {
		return "", fault.InvalidField("authorization.password_file", "holds a password of fewer than 12 characters", "give a longer one")
	}
	return password, nil
}

// processes tells that code of authors runs as processes beside this one.
func (c Config) processes() bool {
	return c.runs("runner") && strings.HasPrefix(c.Deployer, "process:") || c.runs("builder") && strings.HasPrefix(c.Builder.Backend, "local:")
}
