// Command img makes container images out of files on this machine and pushes them to a registry, so
// that no image engine is needed:
//
//	img [-entry a,b] [-env K=V]... [-layer TAR] [-file SRC:DST:MODE]... [-dir DST]... REF
//
// -layer adds a tar file as it is, before the files. The image runs as user 65532.
package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"path"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

type list []string

func (l *list) String() string     { return strings.Join(*l, ",") }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

func main() {
	log.SetFlags(0)
	log.SetPrefix("img: ")
	var env, files, dirs list
	entry := flag.String("entry", "", "entrypoint, comma separated")
	tarLayer := flag.String("layer", "", "tar file to add as a layer of its own, as it is")
	flag.Var(&env, "env", "K=V")
	flag.Var(&files, "file", "SRC:DST:MODE")
	flag.Var(&dirs, "dir", "make an empty world-writable folder")
	flag.Parse()
	if flag.NArg() != 1 {
		flag.Usage()
		os.Exit(2)
	}
	if err := run(*entry, *tarLayer, env, files, dirs, flag.Arg(0)); err != nil {
		log.Fatal(err)
	}
}

func run(entry, tarLayer string, env, files, dirs list, dst string) error {
	ref, err := name.ParseReference(dst)
	if err != nil {
		return err
	}
	var img v1.Image = empty.Image
	if tarLayer != "" {
		l, err := tarball.LayerFromFile(tarLayer, tarball.WithCompressionLevel(gzip.BestSpeed))
		if err != nil {
			return err
		}
		if img, err = mutate.AppendLayers(img, l); err != nil {
			return err
		}
	}
	if len(files)+len(dirs) > 0 {
		var buf bytes.Buffer
		if err := layer(&buf, files, dirs); err != nil {
			return err
		}
		l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
			return io.NopCloser(bytes.NewReader(buf.Bytes())), nil
		}, tarball.WithCompressionLevel(gzip.BestSpeed))
		if err != nil {
			return err
		}
		if img, err = mutate.AppendLayers(img, l); err != nil {
			return err
		}
	}
	cf, err := img.ConfigFile()
	if err != nil {
		return err
	}
	cf = cf.DeepCopy()
	cf.OS, cf.Architecture = "linux", runtime.GOARCH
	cf.Created = v1.Time{Time: time.Unix(0, 0)}
	cf.Config.User, cf.Config.WorkingDir = "65532:65532", "/"
	cf.Config.Env = append(cf.Config.Env, env...)
	if entry != "" {
		cf.Config.Entrypoint, cf.Config.Cmd = strings.Split(entry, ","), nil
	}
	if img, err = mutate.ConfigFile(img, cf); err != nil {
		return err
	}
	if err := remote.Write(ref, img); err != nil {
		return err
	}
	d, err := img.Digest()
	if err != nil {
		return err
	}
	fmt.Println(ref.Context().Digest(d.String()))
	return nil
}

func layer(w io.Writer, files, dirs list) error {
	tw := tar.NewWriter(w)
	seen := map[string]bool{"/": true, ".": true}
	mkdir := func(d string, mode int64) error {
		var todo []string
		for ; !seen[d]; d = path.Dir(d) {
			todo = append([]string{d}, todo...)
			seen[d] = true
		}
		for i, p := range todo {
			m := int64(0o755)
			if i == len(todo)-1 {
				m = mode
			}
			if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: strings.TrimPrefix(p, "/") + "/", Mode: m}); err != nil {
				return err
			}
		}
		return nil
	}
	for _, d := range dirs {
		if err := mkdir(path.Clean(d), 0o1777); err != nil {
			return err
		}
	}
	for _, f := range files {
		p := strings.Split(f, ":")
		if len(p) != 3 {
			return fmt.Errorf("-file %q is not SRC:DST:MODE", f)
		}
		mode, err := strconv.ParseInt(p[2], 8, 64)
		if err != nil {
			return fmt.Errorf("-file %q: the mode: %w", f, err)
		}
		data, err := os.ReadFile(p[0])
		if err != nil {
			return err
		}
		to := path.Clean(p[1])
		if err := mkdir(path.Dir(to), 0o755); err != nil {
			return err
		}
		if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: strings.TrimPrefix(to, "/"), Mode: mode, Size: int64(len(data))}); err != nil {
			return err
		}
		if _, err := tw.Write(data); err != nil {
			return err
		}
	}
	return tw.Close()
}
