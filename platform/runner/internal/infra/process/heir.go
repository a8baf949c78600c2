package process

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/pelton-run/pelton/platform/runner/internal/app"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
)

var _ app.Heir = (*Runner)(nil)

// estate is what an heir needs to know of a runner's wrappers.
type estate struct {
	Machine string `json:"machine"` // where process ids mean the same
	Dir     string `json:"dir"`     // of the registry
	PID     int    `json:"pid"`     // of the runner
	Started string `json:"started"`
	Life    string `json:"life"` // marks its entries in the registry
}

// newEstate begins a life of this process.
func newEstate(dir string) (estate, error) {
	var b [8]byte
	if _, err := rand.Read(b[:]); err != nil {
		return estate{}, err
	}
	pid := os.Getpid()
	return estate{Machine: machine(), Dir: dir, PID: pid, Started: startTime(pid), Life: hex.EncodeToString(b[:])}, nil
}

// Estate implements app.Heir.
func (r *Runner) Estate() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	b, _ := json.Marshal(r.estate) // strings and a number
	return string(b)
}

func (r *Runner) life() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.estate.Life
}

// Gone implements app.Heir.
func (r *Runner) Gone(text string) bool {
	var e estate
	return json.Unmarshal([]byte(text), &e) == nil && e.PID != 0 && e.Machine == machine() && !sameProcess(e.PID, e.Started)
}

// Inherit implements app.Heir. The wrappers of a runner that has ended are taken over where they
// are. Those of one that still runs, and may yet send to them, are ended. Those of another machine
// end by themselves, at the latest when nobody has been attached to them for the detach lease. An
// empty estate is that of a version that told none: entries without a mark in our own registry.
func (r *Runner) Inherit(ctx context.Context, text string) error {
	e := estate{Machine: machine(), Dir: r.cfg.RunDir}
	if text != "" {
		if err := json.Unmarshal([]byte(text), &e); err != nil {
			return fmt.Errorf("read an estate: %w", err)
		}
	}
	if e.Machine != machine() {
		t := time.NewTimer(r.cfg.Lease + 5*time.Second)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		r.mu.Lock()
		r.unknown = true
		r.mu.Unlock()
		for _, p := range r.allPools() {
			p.mu.Lock()
			p.died = true
			p.mu.Unlock()
		}
		return nil
	}
	files, err := filepath.Glob(filepath.Join(e.Dir, "*.json"))
	if err != nil {
		return err
	}
	for _, file := range files {
		if err := r.inherit(file, e); err != nil {
			return err
		}
	}
	return nil
}

// inherit deals with one entry of a registry.
func (r *Runner) inherit(file string, e estate) error {
	data, err := os.ReadFile(file)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	var rec record
	if json.Unmarshal(data, &rec) != nil {
		_ = os.Remove(file)
		return nil
	}
	if rec.Life != e.Life {
		return nil
	}
	p := r.pool(rec.Project, domain.Build{Digest: rec.Build})
	inst := &instance{record: rec, pool: p, file: file, runs: map[string]*running{}}
	ended := e.PID == 0 || !sameProcess(e.PID, e.Started)
	if ended && inst.alive() && inst.dial() == nil && inst.answers() {
		inst.Life, inst.file = r.life(), filepath.Join(r.cfg.RunDir, rec.Name+".json")
		if err := inst.register(); err != nil {
			return err
		}
		if inst.file != file {
			_ = os.Remove(file)
		}
		r.cfg.Log.Info("took over a wrapper", "instance", rec.Name, "build", rec.Build)
		p.take(inst)
		return nil
	}
	inst.sweep()
	inst.unregister()
	p.mu.Lock()
	p.died = true
	p.mu.Unlock()
	return nil
}

// take gives a pool a wrapper that another runner had started: as its own if it has none, else
// as an elder, which gets no new work and is stopped when what it has is done.
func (p *pool) take(inst *instance) {
	p.mu.Lock()
	if p.inst == nil && !p.starting {
		p.inst = inst
		p.idle = time.AfterFunc(p.r.cfg.Idle, p.stopIdle) // unless something is asked of it
	} else {
		p.elders = append(p.elders, inst)
		p.watchElder(inst)
	}
	p.mu.Unlock()
	go inst.receive()
}

// elderIdle is how long an elder without work is kept: attempts are attached to soon after it was
// taken over, or never.
const elderIdle = 30 * time.Second

// watchElder needs p.mu.
func (p *pool) watchElder(inst *instance) {
	time.AfterFunc(elderIdle, func() {
		p.mu.Lock()
		if !p.isElder(inst) {
			p.mu.Unlock()
			return
		}
		if len(inst.runs) > 0 {
			p.watchElder(inst)
			p.mu.Unlock()
			return
		}
		p.dropElder(inst)
		p.mu.Unlock()
		inst.stop(true)
	})
}

func (p *pool) isElder(inst *instance) bool {
	for _, e := range p.elders {
		if e == inst {
			return true
		}
	}
	return false
}

// dropElder needs p.mu.
func (p *pool) dropElder(inst *instance) {
	for i, e := range p.elders {
		if e == inst {
			p.elders = append(p.elders[:i:i], p.elders[i+1:]...)
			return
		}
	}
}

// ask sends an attach to the next wrapper that may know the execution. It needs p.mu; the message
// is sent by what it returns, which is nil when there is none left.
func (p *pool) ask(run *running) func() {
	for len(run.toAsk) > 0 {
		inst := run.toAsk[0]
		run.toAsk = run.toAsk[1:]
		if inst != p.inst && !p.isElder(inst) {
			continue // it is gone: died tells
		}
		if run.inst != nil {
			delete(run.inst.runs, run.x.ID)
		}
		run.inst, run.sent, run.last = inst, true, 0
		inst.runs[run.x.ID] = run
		return func() {
			inst.sendAttach(run, 1)
			p.recancel(inst, run)
		}
	}
	return nil
}

// Abandon implements app.Heir.
func (r *Runner) Abandon() {
	next, err := newEstate(r.cfg.RunDir)
	r.mu.Lock()
	if err == nil { // else the old life goes on, and its heir ends what we start
		r.estate = next
	}
	r.mu.Unlock()
	for _, p := range r.allPools() {
		p.abandon()
	}
}

// abandon ends the wrappers of a pool with all that they had started.
func (p *pool) abandon() {
	p.mu.Lock()
	queued := p.queue
	p.queue = nil
	all := p.elders
	if p.inst != nil {
		all = append(all[:len(all):len(all)], p.inst)
	}
	p.mu.Unlock()
	for _, run := range queued {
		p.end(run, app.Ended{Outcome: app.Lost})
	}
	for _, inst := range all {
		inst.sendMu.Lock()
		inst.closing = true
		inst.sendMu.Unlock()
		if sameProcess(inst.PID, inst.Started) {
			_ = syscall.Kill(inst.PID, syscall.SIGKILL)
		}
		p.lost(inst)
	}
}

func (r *Runner) allPools() []*pool {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]*pool, 0, len(r.pools))
	for _, p := range r.pools {
		out = append(out, p)
	}
	return out
}
