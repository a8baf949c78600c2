package app

// timer is the next due time of one run; index is its place in the heap + 1, 0 = not set.
type timer struct {
	due   int64
	index int
	run   *liveRun
}

// timerHeap is a binary heap by due time. A run has one entry at most, at its earliest due
// time; a tick that comes too early asks for the next one.
type timerHeap []*timer

// set makes the timer due at due, unless it is set for an earlier time.
func (h *timerHeap) set(t *timer, r *liveRun, due int64) {
	if t.index > 0 {
		if t.due <= due {
			return
		}
		t.due = due
		h.up(t.index - 1)
		return
	}
	t.due, t.run = due, r
	*h = append(*h, t)
	t.index = len(*h)
	h.up(t.index - 1)
}

func (h *timerHeap) remove(t *timer) {
	if t.index == 0 {
		return
	}
	i, last := t.index-1, len(*h)-1
	h.swap(i, last)
	(*h)[last] = nil
	*h = (*h)[:last]
	t.index = 0
	if i < last {
		h.down(i)
		h.up(i)
	}
}

func (h timerHeap) swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i+1, j+1
}

func (h timerHeap) up(i int) {
	for i > 0 {
		p := (i - 1) / 2
		if h[p].due <= h[i].due {
			return
		}
		h.swap(i, p)
		i = p
	}
}

func (h timerHeap) down(i int) {
	for {
		c := 2*i + 1
		if c >= len(h) {
			return
		}
		if c+1 < len(h) && h[c+1].due < h[c].due {
			c++
		}
		if h[i].due <= h[c].due {
			return
		}
		h.swap(i, c)
		i = c
	}
}
