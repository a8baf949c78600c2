// Package repository holds the types of the repository service's HTTP interface.
package repository

// Ended tells whether the scan is over.
func (s Scan) Ended() bool { return s.FinishedAt.Unix() > 0 }

// Ended tells whether the build is over.
func (b Build) Ended() bool {
	return b.State == "succeeded" || b.State == "failed" || b.State == "cancelled"
}

// IsWarning tells whether it is worth telling and not wrong.
func (l Location) IsWarning() bool { return l.Warning }
