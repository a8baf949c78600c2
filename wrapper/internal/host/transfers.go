package host

import (
	"context"
	"errors"
	"time"

	"github.com/pelton-run/pelton/wrapper/internal/blob"
	"github.com/pelton-run/pelton/wrapper/internal/frame"
	pb "github.com/pelton-run/pelton/wrapper/wrapperpb"
)

// askAgain is when a question without an answer is asked again: it may have been lost on the way. A runner that attaches is
// asked at once.
const askAgain = 5 * time.Second

// openStore opens the filestore that the start names.
func (j *job) openStore(url string) (*blob.Store, error) {
	if url != "grant:" {
		return blob.Open(url)
	}
	ctx, cancel := context.WithCancel(context.Background())
	if d := j.start.GetDeadlineUnixMs(); d > 0 {
		ctx, cancel = context.WithDeadline(context.Background(), time.UnixMilli(d))
	}
	j.mu.Lock()
	j.questions, j.endTransfers = map[uint64]question{}, cancel
	j.mu.Unlock()
	return blob.OpenRemote(ctx, j.ask, j.host.folders.root), nil
}

// ask asks the runner for a way to the filestore and waits for the answer, however long nobody is attached.
func (x *execution) ask(ctx context.Context, q *pb.FileAsk) (*pb.FileGrant, error) {
	answer := make(chan *pb.FileGrant, 1)
	x.mu.Lock()
	x.asked++
	q.Id = x.asked
	x.questions[q.Id] = question{q, answer}
	x.mu.Unlock()
	defer func() {
		x.mu.Lock()
		defer x.mu.Unlock()
		delete(x.questions, q.Id)
	}()
	again := time.NewTicker(askAgain)
	defer again.Stop()
	for {
		x.mu.Lock()
		to := x.to
		x.mu.Unlock()
		if to != nil {
			to.say(&pb.FromAction{ExecutionId: x.id, Body: &pb.FromAction_FileAsk{FileAsk: q}})
		}
		select {
		case g := <-answer:
			switch {
			case g.GetLater():
				return nil, &blob.DownError{Reason: g.GetError()}
			case g.GetError() != "":
				return nil, errors.New(g.GetError())
			}
			return g, nil
		case <-again.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// granted takes the answer to a question.
func (x *execution) granted(g *pb.FileGrant) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if q, open := x.questions[g.GetId()]; open {
		select {
		case q.answer <- g:
		default: // it is the second one
		}
	}
}

// question is one about the filestore that waits for its answer.
type question struct {
	ask    *pb.FileAsk
	answer chan *pb.FileGrant
}

// open are the questions without an answer, as messages; needs mu.
func (x *execution) open() (all []*pb.FromAction) {
	for _, q := range x.questions {
		all = append(all, &pb.FromAction{ExecutionId: x.id, Body: &pb.FromAction_FileAsk{FileAsk: q.ask}})
	}
	return all
}

// abortTransfers ends what is under way between us and the filestore.
func (x *execution) abortTransfers() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.endTransfers != nil {
		x.endTransfers()
	}
}

// halt ends the execution: nobody waits for it.
func (x *execution) halt() {
	x.stopIt.Do(func() { close(x.stop) })
	x.abortTransfers()
}

func (x *execution) halted() bool {
	select {
	case <-x.stop:
		return true
	default:
		return false
	}
}

// cutOff is the failure of an execution whose transfer was ended or cannot go on, nil for other errors.
func cutOff(err error) error {
	var down *blob.DownError
	switch {
	case errors.As(err, &down):
		f := failf("filestore_unavailable", "%s", down)
		f.retryable = true
		return f
	case errors.Is(err, context.Canceled):
		return failf("cancelled", "the execution was cancelled while a file was transferred")
	case errors.Is(err, context.DeadlineExceeded):
		f := failf("timeout", "the time limit passed while a file was transferred")
		f.retryable = true
		return f
	}
	return nil
}

// mustAsk tells whether what a frame tells has to be put by way of the runner.
func (j *job) mustAsk(m *frame.Message) bool {
	if !j.store.Remote() {
		return false
	}
	for _, values := range m.Values {
		for _, raw := range values {
			if len(raw) > refAbove {
				return true
			}
		}
	}
	return false
}
