package action

import (
	"fmt"
	"strings"

	"github.com/pelton-run/pelton/functions/formats/doc"
)

// ryax reads ryax.tech/v2.0.
func ryax(root *doc.Node, a *Action) {
	a.Kind = root.Need("kind", "add kind: Processor").OneOf("Processor", "Source", "Publisher")
	spec := root.Need("spec", "add spec: with id, human_name and type")
	root.Get("metadata")
	root.Only()
	if !spec.Mapping() {
		return
	}
	a.ID = spec.Need("id", idAllowed).Names(idPattern, idAllowed)
	name := spec.Need("human_name", "give 3 to 128 characters")
	a.Title = name.Text()
	if n := len([]rune(a.Title)); name != nil && (n < 3 || n > 128) {
		name.Wrong("give 3 to 128 characters", "has %d characters", n)
	}
	if t := spec.Need("type", "give python3 or nodejs"); t != nil {
		switch text := t.Text(); text {
		case "python3", "nodejs":
			a.Runtime = text
		case "python3-cuda":
			a.Runtime = "python3"
			a.Notes = append(a.Notes, "type python3-cuda runs as python3 on this compute")
		case "internal", "csharp-dotnet6":
			t.Wrong("use python3 or nodejs", "%s is not supported yet", text)
		default:
			t.OneOf("python3", "python3-cuda", "nodejs", "internal", "csharp-dotnet6")
		}
	}
	a.Version = "1.0"
	if n := spec.Get("version"); n != nil {
		a.Version = n.Names(version, "give a version such as 1.0")
	}
	a.Description, a.Logo = spec.Get("description").Text(), spec.Get("logo").Text()
	a.Categories = texts(spec.Get("categories"), 32)
	a.Inputs = items(spec.Get("inputs"), 256, true)
	a.Outputs = items(spec.Get("outputs"), 64, true)
	if n := spec.Get("dynamic_outputs"); n != nil {
		a.DynamicOutputs = n.Bool()
		if a.DynamicOutputs && a.Kind != "Source" {
			n.Wrong("leave it out", "is for sources only")
		}
	}
	deps := spec.Get("dependencies")
	for i, d := range texts(deps, 64) {
		if pkg, ok := debianOf[strings.TrimPrefix(d, "nixpkgs.")]; ok {
			a.Dependencies = append(a.Dependencies, pkg)
		} else {
			deps.Items()[i].Wrong("name the Debian package in an action.yaml: options: {apt: [package]}", "the system package %q is not in the table", d)
		}
	}
	resources(spec.Get("resources"), a)
	addons(spec.Get("addons"), a)
	for _, ignored := range []string{"options", "overlays"} {
		if spec.Get(ignored) != nil {
			a.Notes = append(a.Notes, fmt.Sprintf("%s is for Nix and is ignored", ignored))
		}
	}
	spec.Only()
}

// addons reads what an action asks of a cluster. It is checked here, so that a mistake is told
// where it was made, and kept for compute that has such things.
func addons(n *doc.Node, a *Action) {
	if n == nil || !n.Mapping() {
		return
	}
	if h := n.Get("http_service"); h != nil && h.Mapping() {
		s := &HTTPService{}
		if p := h.Need("port", "give the port that the action listens on"); p != nil {
			s.Port = p.Int(1, 65535)
		}
		s.EndpointPrefix = h.Get("endpoint_prefix").Text()
		s.StripPathPrefix = h.Get("strip_path_prefix").Bool()
		h.Only()
		a.Addons.HTTPService = s
		a.Notes = append(a.Notes, "addons.http_service: a route to the action's own port needs a cluster; as a local process it has none")
	}
	if k := n.Get("kubernetes"); k != nil && k.Mapping() {
		a.Addons.Kubernetes = &Kubernetes{
			Labels: mapOf(k.Get("labels")), NodeSelector: mapOf(k.Get("nodeSelector")), Annotations: mapOf(k.Get("annotations")),
			ServiceAccountName: k.Get("serviceAccountName").Text(), RuntimeClassName: k.Get("runtimeClassName").Text(),
		}
		k.Only()
		a.Notes = append(a.Notes, "addons.kubernetes is for pods; as a local process the action runs without it")
	}
	n.Only()
}

// mapOf reads a mapping of texts.
func mapOf(n *doc.Node) map[string]string {
	if n == nil || !n.Mapping() {
		return nil
	}
	out := map[string]string{}
	names, values := n.Keys()
	for i, name := range names {
		out[name] = values[i].Text()
	}
	return out
}

// debianOf maps common nixpkgs names to Debian packages.
var debianOf = map[string]string{
	"bash": "bash", "binutils": "binutils", "bzip2": "bzip2", "cmake": "cmake", "coreutils": "coreutils", "curl": "curl", "diffutils": "diffutils",
	"exiftool": "libimage-exiftool-perl", "ffmpeg": "ffmpeg", "file": "file", "findutils": "findutils", "fontconfig": "fontconfig", "freetype": "libfreetype6",
	"gawk": "gawk", "gcc": "gcc", "gdal": "gdal-bin", "geos": "libgeos-c1v5", "ghostscript": "ghostscript", "git": "git", "glib": "libglib2.0-0", "gnugrep": "grep",
	"gnumake": "make", "gnupg": "gnupg", "gnused": "sed", "gnutar": "tar", "graphviz": "graphviz", "gzip": "gzip", "hdf5": "libhdf5-103", "imagemagick": "imagemagick",
	"inkscape": "inkscape", "jq": "jq", "lftp": "lftp", "libGL": "libgl1", "libffi": "libffi8", "libgomp": "libgomp1", "libjpeg": "libjpeg62-turbo", "libpng": "libpng16-16",
	"libreoffice": "libreoffice", "libsndfile": "libsndfile1", "libtiff": "libtiff6", "libxml2": "libxml2", "libxslt": "libxslt1.1", "libyaml": "libyaml-0-2", "lz4": "lz4",
	"mariadb": "mariadb-client", "mysql": "default-mysql-client", "netcdf": "libnetcdf19", "nodejs": "nodejs", "openblas": "libopenblas0", "opencv": "python3-opencv",
	"openjdk": "default-jre-headless", "openssh": "openssh-client", "openssl": "openssl", "p7zip": "p7zip-full", "pandoc": "pandoc", "perl": "perl", "pkg-config": "pkg-config",
	"poppler_utils": "poppler-utils", "portaudio": "libportaudio2", "postgresql": "postgresql-client", "proj": "libproj25", "redis": "redis-tools", "rsync": "rsync",
	"sox": "sox", "sqlite": "sqlite3", "stdenv.cc.cc.lib": "libstdc++6", "tesseract": "tesseract-ocr", "tesseract4": "tesseract-ocr", "texlive": "texlive", "unzip": "unzip",
	"wget": "wget", "which": "debianutils", "wkhtmltopdf": "wkhtmltopdf", "xz": "xz-utils", "yq": "yq", "zbar": "libzbar0", "zip": "zip", "zlib": "zlib1g", "zstd": "zstd",
}
