package knative

import (
	"context"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	pb "github.com/pelton-run/pelton/wrapper/wrapperpb"
)

const (
	// A pod that has had an execution for costAfter is spared when pods are taken away: scaling down
	// takes the younger pod, busy or not.
	costAfter    = 3 * time.Second
	annotateCost = "controller.kubernetes.io/pod-deletion-cost"
	busyCost     = "100"
	// A cost that is not to be seen is set again, at most every costAgain: another replica that had executions there has
	// taken it back, or it could not be set.
	costAgain = 3 * time.Second
	// A pod that is taken away cuts its calls 30 s after the last request that it got, whatever flows on
	// them. Small requests put that off.
	nudgeAfter = 10 * time.Second
	nudgeEvery = 8 * time.Second
	// beatEvery is how often an instance is told that we listen, silence how long one may say nothing:
	// it tells every 10 s that it goes on.
	beatEvery = 10 * time.Second
	silence   = 35 * time.Second
	// waitTold is when people are told why an execution waits for an instance.
	waitTold = 3 * time.Second
	// stuck is how long a call may tell nothing while an instance is ready until it is found out whether it hangs, and
	// stuckAgain how often that is. One of which that stays uncertain is cut after hung.
	stuck      = time.Minute
	stuckAgain = 15 * time.Second
	hung       = 10 * time.Minute
)

// busyPod is a pod with executions that have lasted.
type busyPod struct {
	ns, name, ip string
	priced       time.Time // when its deletion cost was set last
	nudged       time.Time
	conn         *grpc.ClientConn
}

// guard keeps busy pods from being taken away, and tells instances that we listen.
func (r *Runner) guard() {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	busy := map[string]*busyPod{}
	defer func() {
		for _, p := range busy {
			p.close()
		}
	}()
	var beat time.Time
	for {
		select {
		case <-r.life.Done():
			return
		case <-tick.C:
		}
		now := time.Now()
		beats := now.Sub(beat) >= beatEvery
		if beats {
			beat = now
		}
		still := map[string]bool{}
		for _, b := range r.allBackends() {
			for _, u := range b.lane(roleService).inFlight() {
				if p := u.guarded(now, beats); p != "" {
					still[b.ns+"/"+p] = true
					r.protect(busy, b.ns, p, u, now)
				}
			}
			for _, role := range []string{roleJob, roleSource} {
				for _, u := range b.lane(role).inFlight() {
					u.guarded(now, beats)
				}
			}
		}
		for key, p := range busy {
			if !still[key] {
				delete(busy, key)
				p.close()
				r.cost(p, nil)
			}
		}
	}
}

func (r *Runner) allBackends() []*backend {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]*backend, 0, len(r.backends))
	for _, b := range r.backends {
		out = append(out, b)
	}
	return out
}

// guarded looks after one execution, and names its pod once it has lasted.
func (u *run) guarded(now time.Time, beats bool) string {
	u.mu.Lock()
	instance, began, heard, opened, cut, open := u.instance, u.began, u.heard, u.opened, u.cut, u.stream != nil
	cancelled := u.cancel
	u.mu.Unlock()
	switch {
	case instance == "":
		if open && cancelled != nil && now.Sub(heard) > cancelPatience {
			cut() // it waits for an instance in the activator: nobody there knows of the cancel
		}
		if now.Sub(u.queued) > waitTold && open && cancelled == nil && u.explain() && now.Sub(opened) > stuck {
			u.probe(opened) // an instance is ready: the call waits in line, or hangs on the way at one that has died
		}
		return ""
	case open && (now.Sub(heard) > silence || u.isGone()):
		cut() // the connection is half dead
		return instance
	case open && beats:
		u.send(&pb.ToAction{ExecutionId: u.x.ID, Body: &pb.ToAction_Heartbeat{Heartbeat: &pb.Heartbeat{}}})
	}
	if now.Sub(began) < costAfter {
		return ""
	}
	return instance
}

// probe finds out whether a call that tells nothing hangs. It is cut once it surely began nothing, to be sent again, or
// when an instance has what it was to begin. One that may have begun at an instance that is gone by now goes on, since
// most likely it only stands in the activator's line: what comes of it tells.
func (u *run) probe(opened time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.probing || time.Since(u.probed) < stuckAgain {
		return
	}
	u.probing, u.probed = true, time.Now()
	u.r.wg.Go(func() {
		p := u.b.seek.ask(u)
		gone := u.r.pods.instancesGone(u.b.ns, shortBuild(u.b.o.build.Digest))
		u.mu.Lock()
		defer u.mu.Unlock()
		u.probing = false
		if u.r.life.Err() != nil || u.stream == nil || !u.opened.Equal(opened) || u.instance != "" {
			return
		}
		if p == nil && u.gone == gone {
			u.never = opened
		}
		if p != nil || u.gone == gone || time.Since(opened) > hung {
			u.cut()
		}
	})
}

// explain tells why no instance takes the execution, if the pods or who should make them tell, and whether one is ready.
func (u *run) explain() (ready bool) {
	pods, _ := u.r.pods.of(u.b.ns, shortBuild(u.b.o.build.Digest))
	if u.role != roleService {
		pods = nil
		if p, _ := u.r.pods.carrying(u.b.ns, u.x.ID); p != nil {
			pods = append(pods, p)
		}
	}
	told := false
	for _, p := range pods {
		if p.trouble != nil && !p.ready {
			u.wait(p.trouble.words)
			told = true
		}
		ready = ready || (p.ready && !p.ending)
	}
	if !ready && !told && u.role == roleService {
		// Where a quota refuses the pod, there is none that could tell.
		if words := u.b.obstacle(time.Now()); words != "" {
			u.wait(words)
		}
	}
	return ready
}

// protect sets the deletion cost of a pod, and nudges it.
func (r *Runner) protect(busy map[string]*busyPod, ns, name string, u *run, now time.Time) {
	p := busy[ns+"/"+name]
	if p == nil {
		p = &busyPod{ns: ns, name: name}
		busy[ns+"/"+name] = p
	}
	u.mu.Lock()
	began, address := u.began, u.address
	u.mu.Unlock()
	seen, _ := r.pods.get(ns, name)
	if now.Sub(p.priced) >= costAgain && (seen == nil || seen.cost != busyCost) {
		p.priced = now
		r.cost(p, ptr(busyCost))
	}
	if p.conn == nil {
		if p.conn, _ = r.straight(address, queuePort); p.conn != nil {
			p.conn.Connect() // by the time of the first nudge it stands
		}
	}
	if now.Sub(began) < nudgeAfter || now.Sub(p.nudged) < nudgeEvery {
		return
	}
	p.nudged = now
	if conn := p.conn; conn != nil {
		r.wg.Go(func() {
			// It may wait in the pod's queue: given up, it counts all the same.
			ctx, cancel := context.WithTimeout(r.life, 500*time.Millisecond)
			defer cancel()
			_, _ = grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
		})
	}
}

func (p *busyPod) close() {
	if p.conn != nil {
		_ = p.conn.Close()
	}
}

// cost sets what it costs to take a pod away, nil takes that back.
func (r *Runner) cost(p *busyPod, value *string) {
	r.wg.Go(func() {
		ctx, cancel := context.WithTimeout(r.life, 5*time.Second)
		defer cancel()
		_, err := r.cluster.kube.CoreV1().Pods(p.ns).Patch(ctx, p.name, types.MergePatchType, merge(annotateCost, value), metav1.PatchOptions{})
		if err != nil && r.life.Err() == nil && value != nil {
			r.cfg.Log.Debug("a busy pod's deletion cost could not be set", "pod", p.ns+"/"+p.name, "err", err)
		}
	})
}
