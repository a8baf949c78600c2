// Command img makes one-layer container images out of files on this machine and
// pushes them to a registry, so that no image engine is needed:
//
//	img [-base REF] [-entry a,b] [-env K=V]... [-user 65532] [-file SRC:DST[:MODE]]... [-dir DST]... [-layer TAR] REF
//
// -layer adds a tar file as it is, before the files. SRC may be a folder, which is added whole. Without -base the image starts empty.
package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log"
	"os"
	"path"
	"path/filepath"
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
	base := flag.String("base", "", "image to start from")
	entry := flag.String("entry", "", "entrypoint, comma separated")
	user := flag.String("user", "65532:65532", "user[:group] to run as")
	work := flag.String("workdir", "/", "working directory")
	tarLayer := flag.String("layer", "", "tar file to add as a layer of its own, as it is")
	flag.Var(&env, "env", "K=V")
	flag.Var(&files, "file", "SRC:DST[:MODE]")
	flag.Var(&dirs, "dir", "make an empty world-writable folder")
	flag.Parse()
	if flag.NArg() != 1 {
		flag.Usage()
		os.Exit(2)
	}
	if err := run(*base, *entry, *user, *work, *tarLayer, env, files, dirs, flag.Arg(0)); err != nil {
		log.Fatal(err)
	}
}

func run(base, entry, user, work, tarLayer string, env, files, dirs list, dst string) error {
	ref, err := name.ParseReference(dst)
	if err != nil {
		return err
	}
	var img v1.Image = empty.Image
	if base != "" {
		b, err := name.ParseReference(base)
		if err != nil {
			return err
		}
		if img, err = remote.Image(b); err != nil {
			return fmt.Errorf("base image: %w", err)
		}
	}
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
	cf.Config.User, cf.Config.WorkingDir = user, work
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
	add := func(src, dst string, mode int64) error {
		st, err := os.Lstat(src)
		if err != nil {
			return err
		}
		if mode == 0 {
			mode = int64(st.Mode().Perm())
		}
		if err := mkdir(path.Dir(dst), 0o755); err != nil {
			return err
		}
		name := strings.TrimPrefix(dst, "/")
		if st.Mode()&fs.ModeSymlink != 0 {
			to, err := os.Readlink(src)
			if err != nil {
				return err
			}
			return tw.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: to, Mode: 0o777})
		}
		f, err := os.Open(src)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: st.Size()}); err != nil {
			return err
		}
		_, err = io.Copy(tw, f)
		return err
	}
	for _, d := range dirs {
		if err := mkdir(path.Clean(d), 0o1777); err != nil {
			return err
		}
	}
	for _, f := range files {
		p := strings.Split(f, ":")
		if len(p) < 2 {
			return fmt.Errorf("-file %q is not SRC:DST", f)
		}
		var mode int64
		if len(p) > 2 {
			m, err := strconv.ParseInt(p[2], 8, 64)
			if err != nil {
				return err
			}
			mode = m
		}
		st, err := os.Stat(p[0])
		if err != nil {
			return err
		}
		if !st.IsDir() {
			if err := add(p[0], path.Clean(p[1]), mode); err != nil {
				return err
			}
			continue
		}
		err = filepath.WalkDir(p[0], func(at string, e fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			rel, _ := filepath.Rel(p[0], at)
			to := path.Join(p[1], filepath.ToSlash(rel))
			if e.IsDir() {
				return mkdir(to, 0o755)
			}
			return add(at, to, 0)
		})
		if err != nil {
			return err
		}
	}
	return tw.Close()
}
