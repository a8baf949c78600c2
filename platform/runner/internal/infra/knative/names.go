package knative

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"slices"
	"strings"
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

var (
	plainName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$`)
	hashed    = regexp.MustCompile(`-[0-9a-f]{8}$`)
	unfit     = regexp.MustCompile(`[^a-z0-9]+`)
	// reserved are slugs whose namespace may be the platform's own.
	reserved = []string{"builds", "system"}
)

// slug is a project's name as part of a namespace's: the name itself where it fits, else what fits of
// it with a digest, so that no two projects share one.
func slug(project string) string {
	if plainName.MatchString(project) && !hashed.MatchString(project) && !slices.Contains(reserved, project) {
		return project
	}
	sum := sha256.Sum256([]byte(project))
	stem := strings.Trim(unfit.ReplaceAllString(strings.ToLower(project), "-"), "-")
	if len(stem) > 28 {
		stem = strings.TrimRight(stem[:28], "-")
	}
	if stem == "" {
		stem = "p"
	}
	return stem + "-" + hex.EncodeToString(sum[:4])
}

// namespaceOf is where a project's actions run.
func (s *Settings) namespaceOf(project string) string {
	return strings.ReplaceAll(s.Namespace, "{project}", slug(project))
}

// shortBuild is a build's digest as a label takes it.
func shortBuild(digest string) string {
	d := strings.TrimPrefix(digest, "sha256:")
	return d[:min(40, len(d))]
}

// serviceName names the service of a build: the action's id for people, the digest for certainty.
func serviceName(action, digest string) string {
	id, _, _ := strings.Cut(action, "@")
	stem := strings.Trim(unfit.ReplaceAllString(strings.ToLower(id), "-"), "-")
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
