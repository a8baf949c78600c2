// Package archtest holds the layer rules of ARCHITECTURE.md as tables, checked against the
// imports of every package of the module.
package archtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/pelton-run/pelton/"

type pkg struct {
	ImportPath string
	Imports    []string
	Deps       []string
}

func list(t *testing.T, args ...string) []pkg {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"list", "-json=ImportPath,Imports,Deps"}, args...)...)
	cmd.Dir = "../.."
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, stderr.String())
	var pkgs []pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return pkgs
		} else {
			require.NoError(t, err)
		}
		pkgs = append(pkgs, p)
	}
}

// svc is a service's folder, as a group that the other columns may refer to as $svc.
const svc = `(?P<svc>platform/authorization|platform/studio|platform/repository|platform/runner|builder|eventing/bridge)`

// layers says what of the module a package may import. The first pattern that matches a
// package decides; what is not listed is refused.
var layers = []struct {
	pkg string // pattern of the path inside the module
	may string // pattern of imports inside the module, $svc filled in
	why string
}{
	{svc + `/internal/domain(/.*)?`, `$svc/internal/domain(/.*)?|platform/kit/fault`, "the domain knows nothing but itself"},
	{svc + `/internal/app(/.*)?`, `$svc/internal/(app|domain)(/.*)?|platform/kit/(fault|id)|functions/formats/.*`, "use cases know domain and their own ports"},
	{svc + `/internal/infra/contracts/.*`, ``, "copies of contracts are generated code"},
	{svc + `/internal/infra/(?P<tech>[a-z0-9]+)(/.*)?`, `$svc/internal/(app|domain)(/.*)?|$svc/internal/infra/($tech|contracts|actiongrpc)(/.*)?|$svc/contracts/.*|$svc/local|platform/kit/.*|eventing/bus|functions/formats/.*|wrapper/(wrapperpb|wire|go|python|node)`, "an adapter never imports a sibling adapter; actiongrpc is what the ways to a wrapper share"},
	{svc + `/contracts/.*`, ``, "messages are generated code"},
	{svc + `/(local|migrations|localkit)`, `platform/kit/.*|functions/formats/.*|wrapper/(wrapperpb|wire|go|python|node)|builder/internal/.*`, "the builder as a library, for the command line"},
	{`builder/cmd/executor`, `builder/internal/(app|infra/kaniko/(images|spec))|builder/local`, "the program of build Jobs is the kaniko adapter's other half"},
	{`platform/runner/bench`, ``, "floors: bare parts, nothing of ours"},
	{svc, `$svc/.*|platform/kit/.*|eventing/bus|functions/formats/.*`, "a service sees itself, the kit and the bus"},
	{`platform/kit(/.*)?`, `platform/kit(/.*)?|eventing/bus`, "plumbing without a business noun"},
	{`eventing/bus/bustest`, `eventing/bus|platform/kit/(fault|id)`, "the suite of buses"},
	{`eventing/bus(/.*)?`, `eventing/bus(/.*)?|platform/kit/fault`, "ports"},
	{`eventing/(membus|rabbitbus)`, `eventing/bus(/.*)?|platform/kit/.*`, "buses"},
	{`functions(/.*)?`, `functions(/.*)?`, "what authors see imports nothing of the platform"},
	{`wrapper(/.*)?`, `wrapper(/.*)?`, "the wrapper stands alone"},
	{`platform/webui`, ``, "the browser application stands alone"},
	{`platform/sdk(/.*)?`, `platform/sdk(/.*)?`, "generated from the OpenAPI documents"},
	{`platform/cli(/.*)?`, `platform/cli(/.*)?|platform/sdk(/.*)?|functions/.*|builder/local|platform/kit/(fault|id)|wrapper/(wrapperpb|go|python|node)`, "the command line is a client"},
	{`platform/cmd/pelton`, `platform/cli`, "main is trivial"},
	{`platform/cmd/peltond`, `platform/server`, "main is trivial"},
	{`platform/cmd/pelton-adm`, `platform/adm`, "main is trivial"},
	{`platform/adm`, `platform/adm/.*|platform/server|platform/runner|platform/kit/.*|config(/.*)?`, "the operator's tool"},
	{`platform/adm/.*`, `platform/adm/.*|platform/kit/.*|config(/.*)?`, "its parts know no service"},
	{`platform/server(/.*)?`, `.*`, "the composition root"},
	{`platform/(tools|e2e|archtest)(/.*)?`, `.*`, "tools and black-box tests"},
	{`config(/helm)?`, ``, "data only"},
}

func TestLayers(t *testing.T) {
	for _, p := range list(t, "./...") {
		path := strings.TrimPrefix(p.ImportPath, module)
		matched := false
		for _, rule := range layers {
			re := regexp.MustCompile(`^(?:` + rule.pkg + `)$`)
			m := re.FindStringSubmatch(path)
			if m == nil {
				continue
			}
			matched = true
			may := rule.may
			for i, name := range re.SubexpNames() {
				if name != "" {
					may = strings.ReplaceAll(may, "$"+name, regexp.QuoteMeta(m[i]))
				}
			}
			allowed := regexp.MustCompile(`^(?:` + may + `)$`)
			for _, imp := range p.Imports {
				if inside, ok := strings.CutPrefix(imp, module); ok && !allowed.MatchString(inside) {
					t.Errorf("%s imports %s: %s", path, inside, rule.why)
				}
			}
			break
		}
		if !matched {
			t.Errorf("%s: no rule in archtest says what it may import; add one", path)
		}
	}
}

// homes are the only places of a library.
var homes = []struct{ lib, pkg, why string }{
	{`k8s\.io/.*|knative\.dev/serving.*`, `.*/infra/knative(broker)?|builder/internal/infra/kaniko|platform/adm(/.*)?|platform/cmd/pelton-adm`, "compute"},
	{`knative\.dev/eventing.*`, `eventing/bridge/internal/infra/knativebroker`, "brokers"},
	{`github\.com/GoogleContainerTools/kaniko.*`, `builder/cmd/executor`, "image builds"},
	{`github\.com/google/go-containerregistry.*`, `builder/cmd/executor|builder/internal/infra/kaniko(/.*)?|platform/adm(/.*)?|platform/tools/image`, "images without a container engine"},
	{`github\.com/rabbitmq/amqp091-go`, `eventing/rabbitbus|.*/infra/rabbitmq`, "the broker, and the user's own"},
	{`github\.com/jackc/pgx/.*`, `.*/infra/postgres|platform/kit/(pg|pgtest|pgserver|outbox)(/.*)?|platform/tools/.*|platform/(server|e2e|adm)(/.*)?|platform/(runner|studio|repository|authorization)|eventing/bridge|platform/runner/bench`, "PostgreSQL"},
	{`github\.com/minio/minio-go/.*`, `.*/infra/s3files|platform/kit/s3`, "objects"},
	{`github\.com/spf13/cobra`, `platform/cli(/.*)?|platform/cmd/.*|platform/adm(/.*)?|platform/tools/.*`, "commands"},
	{`github\.com/go-git/.*`, `platform/repository/internal/infra/(git|folder)|platform/e2e(/.*)?|platform/tools/.*`, "Git"},
	{`github\.com/google/cel-go/.*`, `functions/formats/(expr|eventfilter)|.*/infra/cel`, "expressions"},
}

func TestHomes(t *testing.T) {
	for _, p := range list(t, "./...") {
		path := strings.TrimPrefix(p.ImportPath, module)
		for _, h := range homes {
			lib, home := regexp.MustCompile(`^(?:`+h.lib+`)$`), regexp.MustCompile(`^(?:`+h.pkg+`)$`)
			for _, imp := range p.Imports {
				if lib.MatchString(imp) && !home.MatchString(path) {
					t.Errorf("%s imports %s, whose only home is %s (%s)", path, imp, h.pkg, h.why)
				}
			}
		}
	}
}

// TestPurity: domain and app import no network, operating system or database package.
func TestPurity(t *testing.T) {
	pure := regexp.MustCompile(`/internal/domain(/.*)?$`)
	banned := regexp.MustCompile(`^(net|net/.*|os|os/.*|database/sql|log|log/.*)$`)
	for _, p := range list(t, "./...") {
		if !pure.MatchString(p.ImportPath) {
			continue
		}
		for _, imp := range p.Imports {
			if banned.MatchString(imp) {
				t.Errorf("%s imports %s: the domain does no I/O", p.ImportPath, imp)
			}
		}
	}
}

// TestBinaries: the small binaries stay small.
func TestBinaries(t *testing.T) {
	heavy := regexp.MustCompile(`^(k8s\.io/|knative\.dev/|github\.com/jackc/pgx|github\.com/rabbitmq|github\.com/minio|github\.com/GoogleContainerTools)`)
	for _, p := range list(t, "./wrapper/cmd/wrapper", "./platform/cmd/pelton") {
		for _, d := range p.Deps {
			if heavy.MatchString(d) {
				t.Errorf("%s links %s", p.ImportPath, d)
			}
		}
	}
}
