// Package slug names projects where only names of Kubernetes fit (RFC 1123 labels). Every service that has something in
// a project's namespace takes it from here, so that they mean the same one.
package slug

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"slices"
	"strings"
)

var (
	plain  = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$`)
	hashed = regexp.MustCompile(`-[0-9a-f]{8}$`)
	unfit  = regexp.MustCompile(`[^a-z0-9]+`)
	// reserved are slugs whose namespace may be the platform's own.
	reserved = []string{"builds", "system"}
)

// Stem is what fits of a text: lower-case letters, digits and single dashes between them; it may be empty.
func Stem(text string) string {
	return strings.Trim(unfit.ReplaceAllString(strings.ToLower(text), "-"), "-")
}

// Of gives a project's slug, at most 40 bytes: the name itself where it fits, else what fits of it with a digest, so
// that no two projects share one.
func Of(project string) string {
	if plain.MatchString(project) && !hashed.MatchString(project) && !slices.Contains(reserved, project) {
		return project
	}
	sum := sha256.Sum256([]byte(project))
	stem := Stem(project)
	if len(stem) > 28 {
		stem = strings.TrimRight(stem[:28], "-")
	}
	if stem == "" {
		stem = "p"
	}
	return stem + "-" + hex.EncodeToString(sum[:4])
}

// Namespace puts a project's slug in the place of {project} in a pattern.
func Namespace(pattern, project string) string {
	return strings.ReplaceAll(pattern, "{project}", Of(project))
}
