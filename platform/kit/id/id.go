// Package id makes and reads UUIDv7 (RFC 9562): ids that sort by their time.
package id

import (
	"time"

	"github.com/google/uuid"
)

// New is a new UUIDv7 in its text form. Safe for concurrent use; ids of one process ascend.
func New() string { return uuid.Must(uuid.NewV7()).String() }

// Valid tells whether s is a UUID in its text form.
func Valid(s string) bool { return len(s) == 36 && uuid.Validate(s) == nil }

// Time is the time in a UUIDv7, zero for other ids.
func Time(s string) time.Time {
	u, err := uuid.Parse(s)
	if err != nil || u.Version() != 7 {
		return time.Time{}
	}
	ms := int64(u[0])<<40 | int64(u[1])<<32 | int64(u[2])<<24 | int64(u[3])<<16 | int64(u[4])<<8 | int64(u[5])
	return time.UnixMilli(ms).UTC()
}
