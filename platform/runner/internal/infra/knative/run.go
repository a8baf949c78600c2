package knative

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/pelton-run/pelton/platform/runner/internal/app"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
	"github.com/pelton-run/pelton/platform/runner/internal/infra/actiongrpc"
	pb "github.com/pelton-run/pelton/wrapper/wrapperpb"
)

// run is one execution in our hands. One goroutine carries it; others cancel it and answer its questions.
type run struct {
	r         *Runner
	b         *backend
	x         app.Execution
	role      string // of one to attach to it is certain once it has entered its lane
	attach    bool   // begun by a life before this one
	queued    time.Time
	cancelled chan struct{} // closed by the first Cancel
	inputs    map[string][]byte

	telling sync.Mutex // the sink hears one thing at a time
	sink    app.Sink
	ended   bool

	mu       sync.Mutex
	cancel   *pb.Cancel
	stream   grpc.BidiStreamingClient[pb.ToAction, pb.FromAction] // of the call under way, nil = none
	cut      context.CancelFunc                                   // ends that call
	instance string                                               // pod's name, "" = not known yet
	address  string                                               // pod's IP
	uid      string                                               // of the pod, "" = not seen yet
	restarts int32
	last     uint64    // seq of the last message
	heard    time.Time // when anything came
	began    time.Time // when the first message came
	opened   time.Time // when the call under way, or the last one, began
	expired  string    // why it is ended as having taken too long, "" = it is not
	sent     time.Time // when its start was sent last
	until    time.Time // when what was sent last can begin no more
	gone     int       // instancesGone when it was sent first
	never    time.Time // the call that began then surely began nothing
	probing  bool      // it is found out whether the call under way hangs
	probed   time.Time // when that began last
	asks     map[uint64]bool
	reason   string // why no instance has it yet, as told
	left     bool   // abandoned: nothing is told any more
}

// result of one call.
type result int

const (
	resEnded  result = iota + 1
	resAgain         // it surely did not begin
	resUnsure        // it may have begun somewhere
	resBroken        // it has begun at a known instance
	resLost
	resUnknown // the instance does not know it
	resClosing
)

func (u *run) phase(kind string, at time.Time) {
	u.telling.Lock()
	defer u.telling.Unlock()
	if !u.ended {
		u.sink.Phase(kind, at)
	}
}

// end tells the end, once.
func (u *run) end(e app.Ended) {
	u.telling.Lock()
	defer u.telling.Unlock()
	if u.ended {
		return
	}
	u.ended = true
	u.mu.Lock()
	if e.Instance == "" {
		e.Instance = u.instance
	}
	left := u.left
	u.mu.Unlock()
	if !left {
		u.sink.Ended(e)
	}
}

func (u *run) over() bool {
	u.telling.Lock()
	defer u.telling.Unlock()
	return u.ended
}

// stop cancels the execution. The first one counts; until it has reached the instance it is sent
// again with every new call.
func (u *run) stop(c *pb.Cancel) {
	u.mu.Lock()
	if u.cancel != nil {
		u.mu.Unlock()
		return
	}
	u.cancel = c
	close(u.cancelled)
	u.mu.Unlock()
	if u.b != nil && !u.attach && u.b.lane(u.role).withdraw(u) {
		if u.role != roleSource {
			u.end(u.cancelledEnd())
			return
		}
		u.r.wg.Go(func() { // not from within Cancel
			u.dismiss()
			u.end(u.cancelledEnd())
		})
		return
	}
	u.send(&pb.ToAction{ExecutionId: u.x.ID, Body: &pb.ToAction_Cancel{Cancel: c}})
}

// abandon lets go of the execution: another runner has it.
func (u *run) abandon() {
	u.mu.Lock()
	u.left = true
	cut := u.cut
	u.mu.Unlock()
	u.telling.Lock()
	over := u.ended
	u.ended = true
	u.telling.Unlock()
	if !over {
		u.sink.Ended(app.Ended{Outcome: app.Lost})
	}
	if cut != nil {
		cut()
	}
	if u.b != nil && !u.attach {
		u.b.lane(u.role).withdraw(u)
	}
}

// send sends a message on the call under way; what cannot be sent shows where the call is received.
func (u *run) send(m *pb.ToAction) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.stream != nil {
		_ = u.stream.Send(m)
	}
}

func (u *run) isCancelled() *pb.Cancel {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.cancel
}

// lose ends the execution as lost.
func (u *run) lose(why string) {
	u.mourn(why)
	u.end(app.Ended{Outcome: app.Lost})
}

// mourn logs why an execution is lost.
func (u *run) mourn(why string) {
	u.mu.Lock()
	instance, began := u.instance, u.began
	u.mu.Unlock()
	if !began.IsZero() {
		why += " after " + time.Since(began).Round(time.Millisecond).String()
	}
	u.r.cfg.Log.Warn("an execution is lost", "execution", u.x.ID, "action", u.x.Build.Action, "instance", instance, "why", why)
}

// cancelledEnd is the end of an execution that was cancelled before it began.
func (u *run) cancelledEnd() app.Ended {
	return app.Ended{Outcome: app.Cancelled, Error: &domain.StepError{Kind: "cancelled", Message: u.isCancelled().GetReason()}}
}

// call is one call of Execute: it sends first, and deals with what comes until the execution or the
// call ends. sent tells whether anything left for the network.
func (u *run) call(client pb.ActionClient, first *pb.ToAction) (res result, sent bool, err error) {
	token, until, err := u.r.token(audienceOf(u.x.Project, u.x.Build.Digest))
	if err != nil {
		return resAgain, false, err
	}
	if !u.r.held() {
		return resAgain, false, errors.New("this replica's lease has run out")
	}
	var left sentFlag
	ctx, cut := context.WithCancel(context.WithValue(u.r.life, sentKey{}, left.set))
	stream, err := client.Execute(ctx)
	if err != nil {
		cut()
		return resAgain, left.get(), err
	}
	first.Token = token
	u.mu.Lock()
	if u.left {
		u.mu.Unlock()
		cut()
		return resClosing, false, errClosing
	}
	u.stream, u.cut, u.heard = stream, cut, time.Now()
	u.opened = u.heard
	if first.GetStart() != nil {
		u.until, u.sent = until, u.heard
	}
	// As a batch, which tells the wrapper that it may answer in batches: each message that passes alone wakes every
	// proxy on the way. Its error is Recv's.
	_ = stream.Send(&pb.ToAction{Body: &pb.ToAction_Batch{Batch: &pb.ToActionBatch{Messages: []*pb.ToAction{first}}}})
	if u.cancel != nil {
		_ = stream.Send(&pb.ToAction{ExecutionId: u.x.ID, Body: &pb.ToAction_Cancel{Cancel: u.cancel}})
	}
	u.mu.Unlock()
	res, err = u.listen(stream)
	u.mu.Lock()
	u.stream, u.cut = nil, nil
	u.mu.Unlock()
	if err == nil {
		// The caller closes its side at once: only then the proxies on the way let the call end, and the
		// instance's place be free.
		_ = stream.CloseSend()
		u.r.wg.Go(func() {
			defer cut()
			t := time.AfterFunc(3*time.Second, cut)
			defer t.Stop()
			for {
				if _, err := stream.Recv(); err != nil {
					return
				}
			}
		})
	} else {
		cut()
	}
	return res, left.get(), err
}

// sentFlag is set from the transport's goroutine.
type sentFlag struct {
	mu sync.Mutex
	on bool
}

func (f *sentFlag) set() {
	f.mu.Lock()
	f.on = true
	f.mu.Unlock()
}

func (f *sentFlag) get() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.on
}

// listen deals with messages until the last one, or until the call breaks.
func (u *run) listen(stream grpc.BidiStreamingClient[pb.ToAction, pb.FromAction]) (result, error) {
	for {
		m, err := stream.Recv()
		if err != nil {
			return resBroken, err
		}
		messages := []*pb.FromAction{m}
		if b := m.GetBatch(); b != nil {
			messages = b.Messages
		}
		for _, m := range messages {
			if res := u.hear(m); res != 0 {
				return res, nil
			}
		}
	}
}

// hear deals with one message; 0 = there is more to come.
func (u *run) hear(m *pb.FromAction) result {
	now := time.Now()
	u.mu.Lock()
	u.heard = now
	if u.began.IsZero() && m.GetUnknown() == nil {
		u.began = now
	}
	if m.Seq != 0 {
		if m.Seq <= u.last {
			u.mu.Unlock()
			return 0
		}
		u.last = m.Seq
	}
	u.mu.Unlock()
	if ask := m.GetFileAsk(); ask != nil {
		u.grant(ask)
		return 0
	}
	u.telling.Lock()
	defer u.telling.Unlock()
	if u.ended {
		return resEnded
	}
	switch b := m.Body.(type) {
	case *pb.FromAction_Instance:
		u.place(b.Instance, now)
	case *pb.FromAction_Phase:
		u.sink.Phase(actiongrpc.Phase(b.Phase))
	case *pb.FromAction_Log:
		u.sink.Log(actiongrpc.Log(b.Log))
	case *pb.FromAction_Progress:
		u.sink.Progress(b.Progress.Fraction, b.Progress.Note)
	case *pb.FromAction_Output:
		u.sink.Output(actiongrpc.Output(b.Output))
	case *pb.FromAction_Done:
		return u.finish(actiongrpc.Done(b.Done))
	case *pb.FromAction_Failed:
		return u.failed(b.Failed)
	case *pb.FromAction_Unknown:
		return resUnknown
	}
	return 0
}

// finish tells the end from within hear.
func (u *run) finish(e app.Ended) result {
	u.ended = true
	u.mu.Lock()
	e.Instance = u.instance
	left := u.left
	u.mu.Unlock()
	if u.role == roleSource { // the same id is used again
		u.send(&pb.ToAction{ExecutionId: u.x.ID, Body: &pb.ToAction_Forget{Forget: &pb.Forget{}}})
	}
	if !left {
		u.sink.Ended(e)
	}
	return resEnded
}

func (u *run) failed(f *pb.Failed) result {
	if f.Kind == "not_started" { // its instance is busy or stopping: it did not begin
		u.send(&pb.ToAction{ExecutionId: u.x.ID, Body: &pb.ToAction_Forget{Forget: &pb.Forget{}}})
		u.mu.Lock()
		u.last, u.instance, u.address, u.uid, u.began = 0, "", "", "", time.Time{}
		u.mu.Unlock()
		return resAgain
	}
	c := u.isCancelled()
	switch {
	case f.Kind == "cancelled" && c == nil: // the instance stopped, or had nobody attached
		u.mourn(f.Message)
		return u.finish(app.Ended{Outcome: app.Lost})
	case f.Kind == "cancelled" && u.expiry() != "":
		e := failed("timeout", u.expiry(), false)
		e.Usage = actiongrpc.Usage(f.Usage)
		return u.finish(e)
	case f.Kind == "cancelled":
		return u.finish(app.Ended{Outcome: app.Cancelled, Error: actiongrpc.StepError(f), Usage: actiongrpc.Usage(f.Usage)})
	}
	return u.finish(app.Ended{Outcome: app.Failed, Error: actiongrpc.StepError(f), Usage: actiongrpc.Usage(f.Usage)})
}

func (u *run) expiry() string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.expired
}

// place notes the instance, and what its pod's coming up took if it came up for us. It is called with
// telling held.
func (u *run) place(i *pb.Instance, now time.Time) {
	p, _ := u.r.pods.get(u.b.ns, i.Name)
	u.mu.Lock()
	u.instance, u.address = i.Name, i.Address
	if p != nil {
		u.uid, u.restarts, u.address = p.uid, p.restarts, p.ip
	}
	queued, at := u.queued, u.sent
	u.mu.Unlock()
	switch {
	case p != nil && p.seen.After(queued):
		if !p.scheduled.IsZero() {
			u.sink.Phase("scheduled", p.scheduled)
		}
		if !p.pulled.IsZero() {
			u.sink.Phase("pulled", p.pulled)
		}
	case !u.attach:
		u.sink.Phase("scheduled", at)
	}
	u.sink.Phase("first_byte", now)
}

// grant answers a question about the filestore.
func (u *run) grant(ask *pb.FileAsk) {
	u.mu.Lock()
	if u.asks[ask.Id] || len(u.asks) >= actiongrpc.MaxAsks || u.r.cfg.Transfers == nil {
		u.mu.Unlock()
		return
	}
	if u.asks == nil {
		u.asks = map[uint64]bool{}
	}
	u.asks[ask.Id] = true
	u.mu.Unlock()
	go func() {
		g := actiongrpc.Grant(u.r.cfg.Transfers, u.r.cfg.Files, u.x.Project, ask)
		u.mu.Lock()
		delete(u.asks, ask.Id)
		u.mu.Unlock()
		u.send(&pb.ToAction{ExecutionId: u.x.ID, Body: &pb.ToAction_FileGrant{FileGrant: g}})
	}()
}

// start is the first message of an execution; large inputs are put into the filestore for it.
func (u *run) start() (*pb.ToAction, error) {
	if u.inputs == nil {
		ctx, cancel := context.WithTimeout(u.r.life, 10*time.Minute)
		defer cancel()
		in, err := actiongrpc.EncodeInputs(ctx, u.r.cfg.Files, u.x.Project, u.x.Inputs)
		if err != nil {
			return nil, fmt.Errorf("an input could not be kept: %w", err)
		}
		u.inputs = in
	}
	return actiongrpc.Start(&u.x, u.inputs, "grant:"), nil
}

// pause waits, or ends early with the platform or a cancel.
func (u *run) pause(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-u.cancelled:
	case <-u.r.life.Done():
	}
}
