package simulation

import (
	"container/heap"
	"time"
)

// entry is something that happens at a time of the test.
type entry struct {
	at    time.Time
	order int
	do    func()
	index int // place in the heap, -1 = not there
}

// agenda is what is to come, the earliest first; of the same time what was noted first.
type agenda struct {
	list  entries
	order int
}

func (a *agenda) add(at time.Time, do func()) *entry {
	a.order++
	e := &entry{at: at, order: a.order, do: do}
	heap.Push(&a.list, e)
	return e
}

// remove tells whether the entry was still to come.
func (a *agenda) remove(e *entry) bool {
	if e.index < 0 {
		return false
	}
	heap.Remove(&a.list, e.index)
	return true
}

func (a *agenda) first() *entry {
	if len(a.list) == 0 {
		return nil
	}
	return a.list[0]
}

type entries []*entry

// Len, Less, Swap, Push and Pop are heap.Interface.
func (l entries) Len() int { return len(l) }

// Less orders by time.
func (l entries) Less(i, j int) bool {
	if !l[i].at.Equal(l[j].at) {
		return l[i].at.Before(l[j].at)
	}
	return l[i].order < l[j].order
}

// Swap keeps the places.
func (l entries) Swap(i, j int) {
	l[i], l[j] = l[j], l[i]
	l[i].index, l[j].index = i, j
}

// Push adds at the end.
func (l *entries) Push(x any) {
	e := x.(*entry)
	e.index = len(*l)
	*l = append(*l, e)
}

// Pop takes from the end.
func (l *entries) Pop() any {
	old := *l
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*l = old[:len(old)-1]
	e.index = -1
	return e
}
