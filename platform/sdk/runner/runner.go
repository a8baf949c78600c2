// Package runner holds the types of the runner's HTTP interface.
package runner

// Ended tells whether the run's state is final.
func (r Run) Ended() bool {
	return r.State == "completed" || r.State == "failed" || r.State == "cancelled"
}
