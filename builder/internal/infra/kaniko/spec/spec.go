// Package spec is what the builder and the program of its Jobs say to each other: an order in the
// environment, results in termination messages. They are of one release, but a Job may outlast the
// builder that made it: fields are only added.
package spec

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/pelton-run/pelton/builder/internal/infra/kaniko/images"
)

// The environment of a Job's containers.
const (
	BuildVariable = "PELTON_BUILD" // a Build
	PushVariable  = "PELTON_PUSH"  // a Push
	FetchVariable = "PELTON_FETCH" // a Fetch
)

// Folders of a Job's pod. kaniko leaves alone what lies below /kaniko and what is mounted.
const (
	Work        = "/kaniko/work"        // of the build container: context, Dockerfile, stages
	Context     = Work + "/context"     //
	Cache       = "/kaniko/cache"       // of package managers; ends with the pod
	Tools       = "/kaniko/tools"       // programs that RUN lines use
	Settings    = "/kaniko/buildenv"    // files of builder.build_env, read only
	Pull        = "/kaniko/pull"        // config.json for pulling and ca.crt, read only; need not be there
	Base        = "/kaniko/base"        // an OCI layout with the image that the build starts from; written by the fetch container
	Out         = "/out"                // of both containers, a volume of its own
	Image       = Out + "/image.tar"    // what kaniko made
	Credentials = "/pelton/credentials" // of the containers fetch and push, never of build: config.json, ca.crt
	Termination = "/dev/termination-log"
)

// Build is the order of the build container. It holds no secret but the source's address, which is
// good for that source and some minutes.
type Build struct {
	Source     string            `json:"source"`              // presigned URL of the tar
	Digest     string            `json:"digest"`              // of the tar: "sha256:<hex>"
	Below      string            `json:"below"`               // folder of the context that the source is put into, "" = the context itself
	Rename     map[string]string `json:"rename,omitempty"`    // files of the source that have another name in the context, unless that is there
	Files      map[string]string `json:"files,omitempty"`     // further files of the context, by path
	Dockerfile string            `json:"dockerfile"`          // text; "" = the source's own file Dockerfile
	Args       map[string]string `json:"args,omitempty"`      // build arguments
	Insecure   []string          `json:"insecure,omitempty"`  // registries that speak plain HTTP
	Single     bool              `json:"single,omitempty"`    // all lines make one layer
	Installer  string            `json:"installer,omitempty"` // address of the package index that uv is fetched from, "" = uv is not needed
	Base       string            `json:"base,omitempty"`      // image by digest that lies at Base and is not pulled, "" = all are pulled
}

// Fetch is the order of the fetch container.
type Fetch struct {
	Registry string   `json:"registry"` // HOST[:PORT]/PREFIX
	Insecure []string `json:"insecure,omitempty"`
	Image    string   `json:"image"` // by digest
}

// Push is the order of the push container.
type Push struct {
	Registry string   `json:"registry"` // HOST[:PORT]/PREFIX
	Insecure []string `json:"insecure,omitempty"`
	Project  string   `json:"project"`
	Kind     string   `json:"kind"` // deps | code
	Key      string   `json:"key"`
	Ground   int      `json:"ground"`  // layers of the image that was there before
	Subject  string   `json:"subject"` // whose SBOM it is, in words
}

// Result is how a container ended.
type Result struct {
	Error  *Failure         `json:"error,omitempty"`
	Digest string           `json:"digest,omitempty"` // of what was pushed
	Phases map[string]int64 `json:"phases_ms,omitempty"`
	Notes  []string         `json:"notes,omitempty"`
}

// Failure is an error in words.
type Failure struct {
	Kind    string `json:"kind"` // as of app.Error; "run" = a RUN line failed, its output is in the log
	Message string `json:"message"`
	Host    string `json:"host,omitempty"`
	Setting string `json:"setting,omitempty"`
}

// Encode packs an order into one environment variable.
func Encode(v any) (string, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return "", err
	}
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	if _, err := z.Write(data); err != nil {
		return "", err
	}
	if err := z.Close(); err != nil {
		return "", err
	}
	return base64.StdEncoding.EncodeToString(out.Bytes()), nil
}

// maxOrder bounds an order unpacked, in bytes.
const maxOrder = 16 << 20

// Decode unpacks an order.
func Decode(text string, into any) error {
	data, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return err
	}
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return err
	}
	if data, err = io.ReadAll(io.LimitReader(z, maxOrder)); err != nil {
		return err
	}
	return json.Unmarshal(data, into)
}

// maxMessage is what Kubernetes keeps of a termination message, in bytes.
const maxMessage = 4096

// Report leaves a container's result where Kubernetes reads it.
func Report(r Result) error {
	data, err := json.Marshal(r)
	if err == nil && len(data) > maxMessage && r.Error != nil {
		e := *r.Error
		e.Message = e.Message[:max(0, len(e.Message)-(len(data)-maxMessage)-64)] + "…"
		r.Error, r.Notes = &e, nil
		data, err = json.Marshal(r)
	}
	if err != nil {
		return err
	}
	if len(data) > maxMessage {
		return fmt.Errorf("the result has %d bytes, %d are kept", len(data), maxMessage)
	}
	return os.WriteFile(Termination, data, 0o600)
}

// Open opens the push container's registry.
func (p Push) Open() (*images.Registry, error) { return open(p.Registry, p.Insecure) }

// Open opens the fetch container's registry.
func (f Fetch) Open() (*images.Registry, error) { return open(f.Registry, f.Insecure) }

func open(registry string, insecure []string) (*images.Registry, error) {
	c := images.Config{Registry: registry, Insecure: insecure}
	if there(Credentials + "/config.json") {
		c.Credentials = Credentials + "/config.json"
	}
	if there(Credentials + "/ca.crt") {
		c.CA = Credentials + "/ca.crt"
	}
	return images.Open(c)
}

func there(path string) bool { _, err := os.Stat(path); return err == nil }
