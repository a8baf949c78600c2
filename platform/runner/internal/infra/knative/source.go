package knative

import (
	"context"
	"time"

	"github.com/pelton-run/pelton/platform/runner/internal/app"
)

// carrySource carries a source by a StatefulSet of one replica. Its name is that of the trigger, in
// every revision: Kubernetes starts the pod of a new one after the old one's is gone, and never has two.
func (u *run) carrySource() {
	name := sourceName(u.x.Project, u.x.Workflow, u.x.Step)
	gone := func() bool {
		ctx, cancel := context.WithTimeout(u.r.life, 5*time.Second)
		defer cancel()
		set, err := u.r.cluster.get(ctx, statefulSets, u.b.ns, name)
		return err == nil && set == nil
	}
	if u.attach {
		for !u.r.pods.synced() && u.r.life.Err() == nil {
			u.pauseHard(50 * time.Millisecond)
		}
		p, _ := u.r.pods.carrying(u.b.ns, u.x.ID)
		if p == nil || p.over || !p.ready || p.build != shortBuild(u.b.o.build.Digest) {
			u.end(app.Ended{Outcome: app.Unknown}) // it starts from its cursor
			return
		}
		u.carryPlain("StatefulSet", name, gone)
		u.leaveSource()
		return
	}
	for try := 0; ; try++ {
		if u.r.life.Err() != nil || u.over() {
			return
		}
		if u.isCancelled() != nil {
			u.dismiss() // an attempt before it may have left it
			u.end(u.cancelledEnd())
			return
		}
		err := u.makeSource()
		if err == nil {
			break
		}
		if !transient(err) {
			u.end(app.Ended{Outcome: app.Failed, Error: startError(err)})
			return
		}
		u.pause(min(time.Duration(try+1)*500*time.Millisecond, 5*time.Second))
	}
	u.carryPlain("StatefulSet", name, gone)
	u.leaveSource()
}

func (u *run) makeSource() error {
	if err := u.r.ensureProject(u.r.life, u.x.Project); err != nil {
		return err
	}
	obj, err := plain(makeSource(u.b.o, u.r.set, u.x.ID, u.x.Workflow, u.x.Step))
	if err != nil {
		return err
	}
	_, err = u.r.cluster.apply(u.r.life, obj)
	return err
}

// leaveSource removes what carried a source that was told to stop. One that ended by itself is started
// again soon, in the same pod.
func (u *run) leaveSource() {
	if u.isCancelled() != nil && u.r.life.Err() == nil {
		u.removeSource()
	}
}

func (u *run) removeSource() {
	ctx, cancel := context.WithTimeout(u.r.life, 10*time.Second)
	defer cancel()
	if err := u.r.cluster.remove(ctx, statefulSets, u.b.ns, sourceName(u.x.Project, u.x.Workflow, u.x.Step)); err != nil {
		u.r.cfg.Log.Warn("a source's pod could not be removed", "workflow", u.x.Workflow, "trigger", u.x.Step, "err", err)
	}
}
