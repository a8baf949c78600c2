package knative

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/pelton-run/pelton/platform/kit/slug"
)

// Labels and annotations of what is ours.
const (
	labelManaged      = "app.kubernetes.io/managed-by" // pelton
	labelInstallation = "pelton.dev/installation"
	labelProject      = "pelton.dev/project" // slug of its name
	labelBuild        = "pelton.dev/build"   // the first 40 digits of its digest
	labelRole         = "pelton.dev/role"    // service, job or source

	annotationProject   = "pelton.dev/project"   // its name
	annotationBuild     = "pelton.dev/build"     // the whole digest
	annotationAction    = "pelton.dev/action"    // id@version
	annotationExecution = "pelton.dev/execution" // of a Job or a source
	annotationSpec      = "pelton.dev/spec"      // digest of what was applied

	roleService = "service"
	roleJob     = "job"
	roleSource  = "source"

	containerName = "action"
	userPort      = 8080 // of the wrapper
	queuePort     = 8013 // of queue-proxy, HTTP/2
)

// namespaceOf is where a project's actions run.
func (s *Settings) namespaceOf(project string) string {
	return slug.Namespace(s.Namespace, project)
}

// shortBuild is a build's digest as a label takes it.
func shortBuild(digest string) string {
	d := strings.TrimPrefix(digest, "sha256:")
	return d[:min(40, len(d))]
}

// serviceName names the service of a build: the action's id for people, the digest for certainty.
func serviceName(action, digest string) string {
	id, _, _ := strings.Cut(action, "@")
	stem := slug.Stem(id)
	if stem == "" || stem[0] < 'a' { // a service's name begins with a letter
		stem = strings.TrimRight("a-"+stem, "-")
	}
	if len(stem) > 24 {
		stem = strings.TrimRight(stem[:24], "-")
	}
	d := shortBuild(digest)
	return stem + "-" + d[:min(12, len(d))]
}

// jobName names the Job of an execution, sourceName the StatefulSet of a source.
func jobName(execution string) string { return "job-" + digestOf(execution) }

// sourceName is the same for every revision: the new one's pod starts after the old one's is gone.
func sourceName(project, workflow, trigger string) string {
	return "source-" + digestOf(project+"/"+workflow+"/"+trigger)
}

func digestOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:12])
}

// audienceOf is what the tokens of calls to a build's instances are for.
func audienceOf(project, build string) string { return project + "/" + build }
