package knative

import (
	"context"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/runner/internal/app"
	pb "github.com/pelton-run/pelton/wrapper/wrapperpb"
)

// carryJob carries a long execution by a Job of its own. The Job is there before anything is sent, and
// until the end is durable: an execution without one has never begun.
func (u *run) carryJob() {
	name := jobName(u.x.ID)
	if u.attach {
		job, ok := u.readJob(name)
		if !ok {
			return
		}
		if job == nil {
			u.end(app.Ended{Outcome: app.Unknown})
			return
		}
		u.carryPlain("Job", name, func() bool { return u.jobOver(name) })
		return
	}
	for try := 0; ; try++ {
		if u.r.life.Err() != nil || u.over() {
			return
		}
		if u.isCancelled() != nil {
			u.end(u.cancelledEnd())
			return
		}
		err := u.makeJob()
		if err == nil {
			break
		}
		if !transient(err) && !fault.Is(err, fault.Exhausted) {
			u.end(app.Ended{Outcome: app.Failed, Error: startError(err)})
			return
		}
		u.wait(err.Error())
		u.pause(min(time.Duration(try+1)*500*time.Millisecond, 5*time.Second))
	}
	u.carryPlain("Job", name, func() bool { return u.jobOver(name) })
}

func (u *run) makeJob() error {
	if err := u.r.ensureProject(u.r.life, u.x.Project); err != nil {
		return err
	}
	obj, err := plain(makeJob(u.b.o, u.r.set, u.x.ID))
	if err != nil {
		return err
	}
	_, err = u.r.cluster.in(jobs, u.b.ns).Create(u.r.life, obj, metav1.CreateOptions{FieldManager: fieldManager})
	if apierrors.IsAlreadyExists(err) { // a life before this one made it, and had not sent anything
		return nil
	}
	if err != nil {
		return u.r.cluster.words(u.r.life, err, "make a Job")
	}
	return nil
}

// readJob reads the Job until the cluster answers; false if the platform stops before.
func (u *run) readJob(name string) (*unstructured.Unstructured, bool) {
	for {
		job, err := u.r.cluster.get(u.r.life, jobs, u.b.ns, name)
		if err == nil {
			return job, true
		}
		if u.r.life.Err() != nil || u.over() {
			return nil, false
		}
		t := time.NewTimer(time.Second)
		select {
		case <-t.C:
		case <-u.r.life.Done():
		}
		t.Stop()
	}
}

// jobOver tells that the Job will have no pod any more.
func (u *run) jobOver(name string) bool {
	ctx, cancel := context.WithTimeout(u.r.life, 5*time.Second)
	defer cancel()
	job, err := u.r.cluster.get(ctx, jobs, u.b.ns, name)
	if err != nil {
		return false
	}
	if job == nil || job.GetDeletionTimestamp() != nil {
		return true
	}
	list, _, _ := unstructured.NestedSlice(job.Object, "status", "conditions")
	for _, c := range list {
		if m, ok := c.(map[string]any); ok && (m["type"] == "Failed" || m["type"] == "Complete") && m["status"] == "True" {
			return true
		}
	}
	return false
}

// removeJob deletes the Job of an execution whose end is durable.
func (r *Runner) removeJob(u *run) {
	name := jobName(u.x.ID)
	for wait := 500 * time.Millisecond; r.life.Err() == nil; wait = min(2*wait, 30*time.Second) {
		ctx, cancel := context.WithTimeout(r.life, 10*time.Second)
		_, err := r.cluster.in(jobs, u.b.ns).Patch(ctx, name, types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{})
		if err == nil || apierrors.IsNotFound(err) {
			err = r.cluster.remove(ctx, jobs, u.b.ns, name)
		}
		cancel()
		if err == nil {
			return
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-r.life.Done():
		}
		t.Stop()
	}
}

// carryPlain carries an execution by a pod of its own, once it is up, which the object of a kind and name makes. gone
// tells that there will be no pod any more.
func (u *run) carryPlain(kind, name string, gone func() bool) {
	sent := u.attach
	since := time.Now()
	asked := since
	for {
		if u.r.life.Err() != nil || u.over() {
			return
		}
		if u.isCancelled() != nil && !sent {
			u.dismiss()
			u.end(u.cancelledEnd())
			return
		}
		p, changed := u.r.pods.carrying(u.b.ns, u.x.ID)
		switch {
		case p != nil && p.ready && !p.ending && !p.over && p.build == shortBuild(u.b.o.build.Digest):
			if u.carryAt(p, &sent) {
				return
			}
			u.pauseHard(200 * time.Millisecond)
			continue
		case p != nil && p.over && (u.role == roleJob || sent), p == nil && u.r.pods.synced() && gone(): // a StatefulSet makes another pod
			if !sent { // nothing was sent to it
				u.end(failed("unavailable", "the pod of the execution ended before it could be called", true))
				return
			}
			u.lose("its pod is gone")
			return
		case p != nil && p.trouble != nil:
			if (p.trouble.final || time.Since(since) > u.r.set.DeployTimeout) && !sent {
				err := u.r.tell(u.r.life, p.trouble, p)
				u.dismiss()
				u.end(app.Ended{Outcome: app.Failed, Error: startError(err)})
				return
			}
			u.wait(p.trouble.words)
		case p == nil && time.Since(asked) > waitTold:
			asked = time.Now()
			t := u.r.troubleOfOwner(u.b.ns, kind, name)
			if t == nil {
				break
			}
			// A quota has room again once others have ended; what the cluster refuses otherwise, it goes on refusing.
			if t.Kind != fault.Exhausted && time.Since(since) > u.r.set.DeployTimeout && !sent {
				u.dismiss()
				u.end(app.Ended{Outcome: app.Failed, Error: startError(t)})
				return
			}
			u.wait(t.Message)
		}
		t := time.NewTimer(2 * time.Second)
		select {
		case <-changed:
		case <-t.C:
		case <-u.cancelled:
			if sent {
				u.pauseHard(200 * time.Millisecond)
			}
		case <-u.r.life.Done():
		}
		t.Stop()
	}
}

// carryAt sends the execution to its pod, or goes on there; false if it has to be tried again.
func (u *run) carryAt(p *pod, sent *bool) bool {
	u.mu.Lock()
	u.address = p.ip
	u.mu.Unlock()
	if *sent {
		u.mu.Lock()
		u.instance, u.uid, u.restarts = p.name, p.uid, p.restarts
		u.mu.Unlock()
		u.goOn(nil)
		return true
	}
	first, err := u.start()
	if err != nil {
		u.end(failed("internal", err.Error(), true))
		return true
	}
	conn, err := u.r.straight(p.ip, userPort)
	if err != nil {
		return false
	}
	defer func() { time.AfterFunc(4*time.Second, func() { _ = conn.Close() }) }()
	res, left, err := u.call(pb.NewActionClient(conn), first)
	switch {
	case res == resEnded || res == resClosing:
		return true
	case res == resAgain && err == nil:
		return false
	}
	switch fails := classify(err, left, u.stale()); fails {
	case failsUnsent, failsToken, failsNoRoute, failsBusy:
		if !u.hasBegun() {
			if fails == failsToken {
				u.r.renewToken(audienceOf(u.x.Project, u.x.Build.Digest))
				u.wait("its pod refuses the platform's calls: is the clock of its node right?")
			}
			return false
		}
	}
	// One pod alone can have it: it is asked.
	*sent = true
	u.mu.Lock()
	u.instance, u.uid, u.restarts = p.name, p.uid, p.restarts
	u.mu.Unlock()
	u.goOn(nil)
	return true
}

// dismiss takes back what carries an execution that never began.
func (u *run) dismiss() {
	switch u.role {
	case roleJob:
		u.r.removeJob(u)
	case roleSource:
		u.removeSource()
	}
}

// pauseHard waits, whether it was cancelled or not.
func (u *run) pauseHard(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-u.r.life.Done():
	}
}
