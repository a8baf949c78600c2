package knative

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pelton-run/pelton/platform/runner/internal/app"
	pb "github.com/pelton-run/pelton/wrapper/wrapperpb"
)

const (
	// routePatience is how long the ingress may not know a service that is ready.
	routePatience = 30 * time.Second
	// cancelPatience is how long a call that has reached no instance goes on after a cancel.
	cancelPatience = time.Second
)

// carryService carries an execution by its build's service.
func (u *run) carryService() {
	if u.attach {
		u.find()
		return
	}
	for try := 0; ; try++ {
		if u.isCancelled() != nil {
			u.end(u.cancelledEnd())
			return
		}
		if u.r.life.Err() != nil || u.over() {
			return
		}
		if err := u.b.ensure(u.r.life); err != nil {
			if transient(err) && u.r.life.Err() == nil {
				u.wait("the cluster: " + err.Error())
				u.pause(min(time.Duration(try+1)*500*time.Millisecond, 5*time.Second))
				continue
			}
			u.end(app.Ended{Outcome: app.Failed, Error: startError(err)})
			return
		}
		if u.carryOnce() {
			return
		}
	}
}

// carryOnce sends the execution until it has ended; false if the service is to be made again.
func (u *run) carryOnce() bool {
	tokens := 0
	for since := time.Now(); ; {
		if u.isCancelled() != nil {
			u.end(u.cancelledEnd())
			return true
		}
		if u.r.life.Err() != nil || u.over() {
			return true
		}
		conn, err := u.b.route()
		if err != nil {
			u.end(app.Ended{Outcome: app.Failed, Error: startError(err)})
			return true
		}
		first, err := u.start()
		if err != nil {
			u.end(failed("internal", err.Error(), true))
			return true
		}
		u.mu.Lock()
		u.gone = u.r.pods.instancesGone(u.b.ns, shortBuild(u.b.o.build.Digest))
		u.mu.Unlock()
		res, sent, err := u.call(pb.NewActionClient(conn), first)
		switch {
		case res == resEnded || res == resClosing:
			return true
		case res == resAgain && err == nil: // busy or stopping
			u.pause(50 * time.Millisecond)
			continue
		case u.hasBegun():
			u.goOn(err)
			return true
		}
		switch classify(err, sent, u.stale()) {
		case failsUnsent:
			if !errors.Is(err, errClosing) {
				u.wait("the gateway cannot be reached: " + err.Error())
			}
			u.pause(200 * time.Millisecond)
		case failsNoRoute:
			if time.Since(u.queued) > waitTold {
				u.wait("the ingress does not know its service: is Knative's ingress well, and gateway in the setting deployer that of services of the cluster?")
			}
			if time.Since(since) > routePatience {
				u.b.forget()
				return false
			}
			u.pause(100 * time.Millisecond)
		case failsBusy:
			u.wait("the cluster has no room for it")
			u.pause(500 * time.Millisecond)
		case failsToken:
			// The next try has one of its own. A call that stood in line for longer than its token was good says nothing of
			// clocks.
			u.r.renewToken(audienceOf(u.x.Project, u.x.Build.Digest))
			if u.lasted() > u.r.times.start/4 {
				continue
			}
			if tokens++; tokens > 5 {
				u.end(failed("internal", fmt.Sprintf("the action's instances refuse the platform's calls: is the clock of their node right? (%s)", err), true))
				return true
			}
		case failsUnsure:
			if u.r.life.Err() != nil {
				return true
			}
			if u.neverBegan() {
				continue
			}
			u.r.cfg.Log.Info("it is not known whether an execution has begun; its instances are asked", "execution", u.x.ID, "action", u.x.Build.Action, "why", err)
			if over := u.look(); over {
				return true
			}
		}
	}
}

// stale tells that the last call's token is good no more.
func (u *run) stale() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return time.Now().After(u.until)
}

// neverBegan tells that the last call was cut since it surely never began anything.
func (u *run) neverBegan() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return !u.never.IsZero() && u.never.Equal(u.opened)
}

func (u *run) hasBegun() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.instance != ""
}

// find looks for an execution that a life before this one has begun.
func (u *run) find() {
	u.mu.Lock()
	u.until = u.r.fenced().Add(-u.r.times.skew)
	u.gone = -1
	u.mu.Unlock()
	if !u.look() && !u.over() {
		u.end(app.Ended{Outcome: app.Unknown})
	}
}

// look finds out where an execution is of which no instance is known, and carries it to its end
// there; false if it surely never began.
func (u *run) look() (over bool) {
	p := u.b.seek.ask(u)
	if p != nil {
		u.mu.Lock()
		u.instance, u.address, u.uid, u.restarts, u.last = p.name, p.ip, p.uid, p.restarts, 0
		u.mu.Unlock()
		u.goOn(nil)
		return true
	}
	if u.r.life.Err() != nil || u.over() {
		return true
	}
	u.mu.Lock()
	may := u.gone < 0 || u.gone != u.r.pods.instancesGone(u.b.ns, shortBuild(u.b.o.build.Digest))
	u.mu.Unlock()
	if may {
		u.lose("no instance knows it, and one that may have had it is gone")
		return true
	}
	return false
}

// goOn listens to an execution at the instance that it is known to be at, after its call has broken.
func (u *run) goOn(err error) {
	limit := u.b.o.timeout(u.r.set)
	if u.role == roleService && err != nil && cutByLimit(err, u.lasted(), limit) {
		u.expire(limit)
		return
	}
	port := queuePort
	if u.role != roleService {
		port = userPort
	}
	contact := time.Now()
	for wait := 20 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		if u.r.life.Err() != nil || u.over() {
			return
		}
		if u.isGone() {
			u.lose("its instance is gone")
			return
		}
		if time.Since(contact) > unreachable {
			u.lose("its instance cannot be reached")
			return
		}
		res, err := u.attachAt(port)
		switch {
		case res == resEnded || res == resClosing:
			return
		case res == resUnknown:
			if u.attach && u.role != roleService {
				u.end(app.Ended{Outcome: app.Unknown}) // its Job or source never had it
				return
			}
			u.lose("its instance does not know it")
			return
		case u.role == roleService && res == resBroken && cutByLimit(err, u.lasted(), limit):
			u.expire(limit)
			return
		}
		if h := u.lastHeard(); h.After(contact) {
			contact, wait = h, 20*time.Millisecond
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-u.r.life.Done():
		}
		t.Stop()
	}
}

// lasted is how long the call under way, or the last one, has been.
func (u *run) lasted() time.Duration {
	u.mu.Lock()
	defer u.mu.Unlock()
	return time.Since(u.opened)
}

func (u *run) lastHeard() time.Time {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.heard
}

// isGone tells that the execution's instance is no more.
func (u *run) isGone() bool {
	u.mu.Lock()
	name, uid, restarts, began := u.instance, u.uid, u.restarts, u.began
	u.mu.Unlock()
	p, _ := u.r.pods.get(u.b.ns, name)
	switch {
	case p == nil:
		// A pod that has come up a moment ago may not have been told of yet.
		return u.r.pods.synced() && (uid != "" || time.Since(began) > 10*time.Second)
	case uid == "":
		u.mu.Lock()
		u.uid, u.restarts = p.uid, p.restarts
		u.mu.Unlock()
		return p.over
	}
	return p.over || p.uid != uid || p.restarts != restarts
}

// attachAt opens a call to the execution's own pod and goes on where the last one broke.
func (u *run) attachAt(port int) (result, error) {
	u.mu.Lock()
	address, from := u.address, u.last+1
	u.mu.Unlock()
	conn, err := u.r.straight(address, port)
	if err != nil {
		return resBroken, err
	}
	res, _, err := u.call(pb.NewActionClient(conn), &pb.ToAction{ExecutionId: u.x.ID, Body: &pb.ToAction_Attach{Attach: &pb.Attach{FromSeq: from}}})
	// What is left of the call ends with its connection, after its half-close has had time to pass.
	time.AfterFunc(4*time.Second, func() { _ = conn.Close() })
	return res, err
}

// expire ends an execution whose call was cut by the service's time limit: it would go on for a lease
// yet.
func (u *run) expire(limit time.Duration) {
	message := fmt.Sprintf("it took longer than the %s that a call to its service may last: declare a timeout of more than %s for the step, or in the action's metadata, and it runs as a Job", limit, u.r.set.Long)
	u.mu.Lock()
	u.expired = message
	if u.cancel == nil {
		u.cancel = &pb.Cancel{Reason: message, GraceMs: 1000}
		close(u.cancelled)
	}
	u.mu.Unlock()
	deadline := time.Now().Add(lease + u.r.times.skew)
	for time.Now().Before(deadline) && !u.isGone() && u.r.life.Err() == nil {
		if res, _ := u.attachAt(userPort); res == resEnded || res == resUnknown {
			break
		}
		t := time.NewTimer(200 * time.Millisecond)
		select {
		case <-t.C:
		case <-u.r.life.Done():
		}
		t.Stop()
	}
	if u.r.life.Err() == nil {
		u.end(failed("timeout", message, false))
	}
}

// wait tells why no instance has the execution yet, once for each reason.
func (u *run) wait(reason string) {
	u.telling.Lock()
	defer u.telling.Unlock()
	if u.ended || u.reason == reason {
		return
	}
	u.reason = reason
	u.sink.Progress(0, "waiting for an instance: "+reason)
}

// ensure makes sure that the service is there.
func (b *backend) ensure(ctx context.Context) error {
	b.mu.Lock()
	ok := b.ensured
	b.mu.Unlock()
	if ok {
		return nil
	}
	return b.r.ensureService(ctx, b)
}

func (b *backend) setEnsured(ok bool) {
	b.mu.Lock()
	b.ensured = ok
	b.mu.Unlock()
}

// forget lets the service be looked for, and made, again.
func (b *backend) forget() { b.setEnsured(false) }
