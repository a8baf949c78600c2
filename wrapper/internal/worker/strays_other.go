//go:build !linux

package worker

import "sync"

// Without a subreaper only process groups are ended: a child that goes into a session of its own
// outlives its execution until the wrapper is told of by its parent.
var started = struct {
	sync.Mutex
	pids map[int]bool
}{pids: map[int]bool{}}

// Adopt tells that this system leaves orphans to its first process.
func Adopt() bool { return false }

func descendants(int) []int { return nil }

func lone(int) bool { return false }

func killBelow(int, map[int]bool) int { return 0 }

func killInherited(int, bool) {}

// kin has no cheap answer here.
type kin struct{}

func (*kin) open(int) {}
func (*kin) close()   {}

func (p *proc) childless() bool { return false }
