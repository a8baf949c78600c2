// Command image makes the platform's container image out of static programs and CA certificates,
// without a container engine, and pushes it to a registry or writes it as a tar.
//
//	go run ./platform/tools/image -push 127.0.0.1:5000/pelton:dev
//	go run ./platform/tools/image -bin DIR -tar pelton.tar -name pelton:1.0
//
// The last line of its output is the image by digest (-push) or the tar's name.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1) //nolint:gocritic // nothing to clean up
	}
}

type options struct {
	bin, ca, push, tar, name, version string
	insecure                          bool
}

func run(ctx context.Context, args []string, out, errw io.Writer) error {
	var o options
	f := flag.NewFlagSet("image", flag.ContinueOnError)
	f.SetOutput(errw)
	f.StringVar(&o.bin, "bin", "", "folder with the static programs peltond, pelton-adm, executor and wrapper; built when left out")
	f.StringVar(&o.ca, "ca", "", "file of the CA certificates that the image trusts; this machine's by default")
	f.StringVar(&o.push, "push", "", "reference to push to, HOST[:PORT]/NAME:TAG")
	f.BoolVar(&o.insecure, "insecure", false, "the registry speaks plain HTTP")
	f.StringVar(&o.tar, "tar", "", "file to write the image to, as `docker load` reads it")
	f.StringVar(&o.name, "name", "pelton:dev", "name of the image in the tar")
	f.StringVar(&o.version, "version", "dev", "version that the image's label and the programs tell")
	if err := f.Parse(args); err != nil {
		return err
	}
	if o.push == "" && o.tar == "" {
		return fmt.Errorf("give -push REFERENCE or -tar FILE")
	}
	if o.bin == "" {
		dir, err := os.MkdirTemp("", "pelton-image-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		if err := compile(ctx, dir, o.version, errw); err != nil {
			return err
		}
		o.bin = dir
	}
	img, err := image(o.bin, o.ca, o.version)
	if err != nil {
		return err
	}
	if o.tar != "" {
		if err := write(img, o.tar, o.name); err != nil {
			return err
		}
		fmt.Fprintln(out, o.tar)
	}
	if o.push != "" {
		return push(ctx, img, o.push, o.insecure, out)
	}
	return nil
}

// compile builds the programs, static and without the paths of this machine.
func compile(ctx context.Context, dir, version string, errw io.Writer) error {
	ldflags := "-s -w -X github.com/pelton-run/pelton/platform/server.Version=" + version
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", ldflags, "-o", dir+string(filepath.Separator),
		"./platform/cmd/peltond", "./platform/cmd/pelton-adm", "./builder/cmd/executor", "./wrapper/cmd/wrapper")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux")
	cmd.Stdout, cmd.Stderr = errw, errw
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("build the programs (run this in the repository's top folder): %w", err)
	}
	return nil
}

// write puts the tar in its place whole.
func write(img v1.Image, file, ref string) error {
	tag, err := name.NewTag(ref)
	if err != nil {
		return fmt.Errorf("-name: %w", err)
	}
	tmp := file + ".tmp"
	defer os.Remove(tmp)
	if err := tarball.WriteToFile(tmp, tag, img); err != nil {
		return err
	}
	return os.Rename(tmp, file)
}

func push(ctx context.Context, img v1.Image, to string, insecure bool, out io.Writer) error {
	var opts []name.Option
	if insecure {
		opts = append(opts, name.Insecure)
	}
	ref, err := name.ParseReference(to, opts...)
	if err != nil {
		return fmt.Errorf("-push: %w", err)
	}
	if err := remote.Write(ref, img, remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain)); err != nil {
		return fmt.Errorf("push to %s: %w", ref, err)
	}
	d, err := img.Digest()
	if err != nil {
		return err
	}
	fmt.Fprintln(out, ref.Context().Digest(d.String()))
	return nil
}
