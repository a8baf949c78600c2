// Package domain holds accounts, projects and API keys.
package domain

import (
	"regexp"
	"time"

	"github.com/pelton-run/pelton/platform/kit/fault"
)

// Account is a person.
type Account struct {
	ID        string
	Name      string
	Password  string // argon2id, PHC text
	Admin     bool   // of the platform
	CreatedAt time.Time
	Roles     map[string]string // by project
}

// Project is a tenant.
type Project struct {
	Name      string
	CreatedAt time.Time
}

// Key is an API key; its secret is kept as a hash alone.
type Key struct {
	ID        string
	Project   string
	Name      string
	Role      string
	Hash      []byte
	CreatedBy string
	CreatedAt time.Time
	ExpiresAt *time.Time
}

var namePattern = regexp.MustCompile(`^[\p{L}\p{N}][\p{L}\p{N} ._-]{0,62}$`)

// Validate checks what somebody wants to create.
func (k Key) Validate(now time.Time) error {
	var bad []fault.Field
	if !namePattern.MatchString(k.Name) {
		bad = append(bad, fault.Field{Path: "name", Message: "is " + quote(k.Name), Remedy: "give 1 to 63 letters, digits, spaces, . _ and -"})
	}
	switch k.Role {
	case "viewer", "operator", "developer", "admin":
	default:
		bad = append(bad, fault.Field{Path: "role", Message: "is " + quote(k.Role), Remedy: "give viewer, operator, developer or admin"})
	}
	if k.ExpiresAt != nil && !k.ExpiresAt.After(now) {
		bad = append(bad, fault.Field{Path: "expires_at", Message: "lies in the past", Remedy: "give a later time, or leave it out"})
	}
	if len(bad) > 0 {
		return fault.InvalidFields(bad...)
	}
	return nil
}

func quote(s string) string {
	if s == "" {
		return "empty"
	}
	return `"` + s + `"`
}
