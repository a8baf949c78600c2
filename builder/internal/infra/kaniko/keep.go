package kaniko

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net"
	"reflect"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/pelton-run/pelton/builder/internal/app"
	"github.com/pelton-run/pelton/builder/internal/infra/kaniko/images"
	"github.com/pelton-run/pelton/builder/internal/infra/kaniko/spec"
	"github.com/pelton-run/pelton/builder/local"
	"github.com/pelton-run/pelton/functions/formats/action"
	"github.com/pelton-run/pelton/platform/kit/fault"
)

// keep puts the image together and pushes it, with what is in it attached before anybody can find it.
func (j *build) keep(ctx context.Context, ground v1.Image, at name.Digest, code v1.Layer) error {
	labels, err := j.labels()
	if err != nil {
		return err
	}
	parts := images.Parts{Ground: ground, Bundle: code, Labels: labels}
	if code != nil {
		parts.Wrapper = j.wrapper
	}
	img, err := images.Compose(parts)
	if err != nil {
		return err
	}
	packages, err := j.contents(ctx, at)
	if err != nil {
		return err
	}
	sbom, err := images.SBOM(j.o.Action.Label(), j.o.Build, packages)
	if err != nil {
		return err
	}
	d, err := j.reg.Keep(ctx, images.Kept{Project: j.o.Project, Build: j.o.Build, Image: img, SBOM: sbom, Shares: j.deps, Now: j.now()})
	if err != nil {
		return err
	}
	j.r.Artifact = images.Artifact(d)
	if compiled(j.o.Action) {
		tag, err := j.reg.Tag(j.o.Project, "code", j.o.Build)
		if err == nil {
			err = j.reg.Forget(ctx, tag)
		}
		if err != nil { // its layer is part of the image; the manifest is only in the way
			j.log.Warn("what a compile left cannot be removed from the registry", "project", j.o.Project, "build", j.o.Build, "err", err)
		}
	}
	return nil
}

func (j *build) labels() (map[string]string, error) {
	sum := sha256.Sum256([]byte(j.o.Action.JSON()))
	lock, err := action.LockDigest(j.m.files, ".", j.o.Action)
	if err != nil {
		return nil, err
	}
	l := map[string]string{images.LabelBuild: j.o.Build, images.LabelMetadata: "sha256:" + hex.EncodeToString(sum[:]), images.LabelLock: lock, images.LabelDeps: strings.Join(j.deps, ","),
		"org.opencontainers.image.title": j.o.Action.ID, "org.opencontainers.image.version": j.o.Action.Version}
	if j.o.Commit != "" {
		l[images.LabelRevision] = j.o.Commit
	}
	if m := j.m.ground; m != "" {
		l[images.LabelBase], l[images.LabelBaseName] = j.base.DigestStr(), j.base.Context().Name()
	}
	return l, nil
}

// contents are the packages of the image: what its dependencies' SBOM says, what a compile's says, and the base.
func (j *build) contents(ctx context.Context, at name.Digest) ([]images.Package, error) {
	var out []images.Package
	if j.m.ground != "" {
		out = append(out, images.Package{Type: "oci", Name: j.base.Context().Name(), Version: j.base.DigestStr()})
	}
	if at != j.base {
		p, err := j.inside(ctx, at)
		if err != nil {
			return nil, err
		}
		out = append(out, p...)
	}
	if compiled(j.o.Action) {
		tag, err := j.reg.Tag(j.o.Project, "code", j.o.Build)
		if err != nil {
			return nil, err
		}
		h, ok, err := j.reg.Head(ctx, tag)
		if err != nil || !ok {
			return out, err
		}
		p, err := j.reg.Packages(ctx, tag.Digest(h.String()))
		if err != nil {
			return nil, err
		}
		out = append(out, p...)
	}
	return out, nil
}

// inside are the packages of dependencies, which do not change.
func (j *build) inside(ctx context.Context, at name.Digest) ([]images.Package, error) {
	j.mu.Lock()
	p, ok := j.packages[at.DigestStr()]
	j.mu.Unlock()
	if ok {
		return p, nil
	}
	p, err := j.reg.Packages(ctx, at)
	if err != nil {
		return nil, err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.packages) >= keptPackages {
		clear(j.packages)
	}
	j.packages[at.DigestStr()] = p
	return p, nil
}

// keptPackages is of how many dependencies the packages are kept in memory.
const keptPackages = 200

// sourceGood is how long a Job may take to begin with fetching its source.
func (s *Settings) sourceGood() time.Duration { return s.Pending + s.Timeout }

// job runs a stage as a Job and is the digest of what it pushed.
func (j *build) job(ctx context.Context, s *stage, layers int) (string, error) {
	if err := j.ready(ctx); err != nil {
		return "", err
	}
	address, err := j.sources.Address(ctx, j.o.Project, j.o.Source, j.s.sourceGood())
	if err != nil {
		return "", err
	}
	args := map[string]string{}
	for _, of := range []map[string]string{j.env.args, s.Args} {
		for k, v := range of {
			args[k] = v
		}
	}
	order := spec.Build{Source: address, Digest: j.o.Source, Below: s.Below, Rename: s.Rename, Files: s.Files, Dockerfile: s.Dockerfile, Args: args, Insecure: j.s.RegistryInsecure, Single: s.Dockerfile != ""}
	if s.UV {
		order.Installer = j.env.index
	}
	fetch := ""
	if j.reg.Guarded(s.Base) {
		order.Base = s.Base
		if fetch, err = spec.Encode(spec.Fetch{Registry: j.s.Registry, Insecure: j.s.RegistryInsecure, Image: s.Base}); err != nil {
			return "", err
		}
	}
	t := task{Order: j.o.ID, Project: j.o.Project, Build: j.o.Build, Kind: s.Kind, fetch: fetch, args: args}
	if s.Tools { // a Go action may need both: packages to run on, caches to compile with
		t.Kind = "tools"
	}
	if t.build, err = spec.Encode(order); err != nil {
		return "", err
	}
	if t.push, err = spec.Encode(spec.Push{Registry: j.s.Registry, Insecure: j.s.RegistryInsecure, Project: j.o.Project, Kind: s.Kind, Key: s.Key, Ground: layers, Subject: j.o.Action.Label()}); err != nil {
		return "", err
	}
	if err := j.fence(ctx, address); err != nil {
		return "", err
	}
	return j.follow(ctx, t)
}

// fence makes the network policy of build pods say what the settings do, and how the source is reached. On the
// node's network there is none.
func (b *Builder) fence(ctx context.Context, source string) error {
	if !b.s.NetworkPolicy || b.s.HostNetwork {
		return b.cluster.removePolicy(ctx)
	}
	return b.cluster.ensurePolicy(ctx, makePolicy(b.s, locate(ctx, b.s.targets(b.env, source), net.DefaultResolver.LookupNetIP)))
}

func (j *build) follow(ctx context.Context, t task) (string, error) {
	adopted, err := j.cluster.start(ctx, makeJob(t, j.s))
	if err != nil {
		return "", err
	}
	if adopted {
		j.say("the build was under way already, and is followed again")
	}
	f := &follower{c: j.cluster, job: t.name(), pending: j.s.Pending, log: j.say}
	// Until a container runs, the wait for one is bounded by pending.
	goOn := j.clock.wait()
	defer func() { goOn() }()
	f.runs = func(yes bool) {
		goOn()
		if !yes {
			goOn = j.clock.wait()
		}
	}
	r, err := f.run(ctx)
	if err != nil {
		return "", err
	}
	for k, ms := range r.Phases {
		j.r.Phases[t.Kind+" "+k] += time.Duration(ms) * time.Millisecond
	}
	if r.Error != nil {
		return "", j.told(r.Error, f.output())
	}
	if err := j.cluster.remove(ctx, t.name()); err != nil { // it is removed some minutes after its end anyway
		j.log.Warn("a build's Job cannot be removed", "job", t.name(), "err", err)
	}
	return r.Digest, nil
}

func (j *build) say(line string) {
	if j.o.Log != nil {
		j.o.Log(line)
	}
}

// told makes an error of a Job's end; what commands said is read as that of a local build is.
func (j *build) told(f *spec.Failure, output string) error {
	if f.Kind != "run" {
		return &app.Error{Kind: f.Kind, Message: f.Message, Host: f.Host, Setting: f.Setting}
	}
	runtime := j.o.Action.Runtime
	if ownDockerfile(j.m.files) {
		runtime = "container"
	}
	err := local.Problem(runtime, output)
	var e *app.Error
	if errors.As(err, &e) && e.Kind == "network" {
		// The environment of this process is not the build's.
		e.Setting = "builder.build_env"
		if j.s.Proxy != "" {
			e.Setting = "builder.proxy"
		}
	}
	return err
}

// ready makes the namespace and the secrets of Jobs say what the settings and their files do, which whoever renews
// credentials replaces.
func (b *Builder) ready(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	push, err := readAll(map[string]string{"config.json": b.s.RegistryCredentials, "ca.crt": b.s.RegistryCA})
	if err != nil {
		return err
	}
	// Certificates are no secret: what authors' Dockerfiles begin from may lie in the same registry.
	pull, err := readAll(map[string]string{"config.json": b.s.PullCredentials, "ca.crt": b.s.RegistryCA})
	if err != nil {
		return err
	}
	executor, err := b.s.executorPull()
	if err != nil {
		return fault.InvalidField("builder.executor_credentials", err.Error(), "give a file as `docker login` writes it")
	}
	want := map[string]map[string][]byte{secretPush: push, secretPull: pull, secretEnv: b.env.files, secretExecutor: executor}
	if reflect.DeepEqual(want, b.kept) {
		return nil
	}
	if err := b.cluster.ensureNamespace(ctx); err != nil {
		return err
	}
	for name, data := range want {
		if err := b.cluster.ensureSecret(ctx, name, data); err != nil {
			return err
		}
	}
	b.kept = want
	return nil
}

// Drop implements app.Backend.
func (b *Builder) Drop(ctx context.Context, project, build string, before time.Time) (bool, error) {
	unlock, err := b.lock(ctx, project+"/"+build)
	if err != nil {
		return false, err
	}
	defer unlock()
	reg, err := b.reg.Anew()
	if err != nil {
		return false, err
	}
	return reg.Drop(ctx, project, build, before)
}

// Abandon implements app.Backend.
func (b *Builder) Abandon(ctx context.Context, order string) error {
	return b.cluster.removeOrder(ctx, order)
}
