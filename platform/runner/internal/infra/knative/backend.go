package knative

import (
	"context"
	"net"
	"strconv"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/stats"

	"github.com/pelton-run/pelton/platform/runner/internal/app"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
)

// backend is one build: its service, its lines of executions, its connections.
type backend struct {
	r    *Runner
	o    *order
	ns   string
	name string // of the service

	lanes map[string]*lane // role -> line; never changed

	mu      sync.Mutex
	ensured bool // the service is there, as far as we know
	conns   []*grpc.ClientConn
	turn    int
	seek    seeking
	stands  standing

	made   madeJobs
	making sync.Mutex // held while the service is made
}

// standing is what stands between a service without a ready pod and its first one.
type standing struct {
	asked time.Time
	words string // "" = nothing that the cluster tells
}

// obstacle tells what was found last, and has the cluster asked again at most every few seconds: whoever asks goes on at once.
func (b *backend) obstacle(now time.Time) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if now.Sub(b.stands.asked) >= waitTold {
		b.stands.asked = now
		b.r.wg.Go(func() {
			words := b.findObstacle()
			b.mu.Lock()
			b.stands.words = words
			b.mu.Unlock()
		})
	}
	return b.stands.words
}

func (b *backend) findObstacle() string {
	ctx, cancel := context.WithTimeout(b.r.life, 5*time.Second)
	defer cancel()
	u, err := b.r.cluster.get(ctx, services, b.ns, b.name)
	if err != nil || u == nil {
		return ""
	}
	if t := b.r.troubleOfService(ctx, b, string(u.GetUID())); t != nil {
		return t.Message
	}
	return ""
}

func newBackend(r *Runner, o *order) *backend {
	b := &backend{r: r, o: o, ns: r.set.namespaceOf(o.project), name: serviceName(o.build.Action, o.build.Digest)}
	b.lanes = map[string]*lane{
		roleService: {b: b, limit: o.maxScale(r.set) * o.concurrency(), carry: (*run).carryService},
		roleJob:     {b: b, limit: r.set.Jobs, carry: (*run).carryJob},
		roleSource:  {b: b, limit: 1 << 20, carry: (*run).carrySource},
	}
	b.seek.b = b
	return b
}

func (b *backend) lane(role string) *lane { return b.lanes[role] }

func (b *backend) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.conns {
		_ = c.Close()
	}
	b.conns = nil
}

// streamsPerConn keeps a connection's calls below what servers take at a time, 250 in Go's.
const streamsPerConn = 100

// route gives a connection to the service, by the gateway or by its name.
func (b *backend) route() (*grpc.ClientConn, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.conns == nil {
		host := b.name + "." + b.ns + ".svc.cluster.local"
		target := "dns:///" + host + ":80"
		if g := b.r.set.Gateway; g != "" {
			target = "passthrough:///" + g
		}
		for range (b.lanes[roleService].limit + streamsPerConn - 1) / streamsPerConn {
			c, err := grpc.NewClient(target, append(common(), grpc.WithAuthority(host), grpc.WithStatsHandler(sentMarker{}))...)
			if err != nil {
				return nil, err
			}
			b.conns = append(b.conns, c)
		}
	}
	b.turn++
	return b.conns[b.turn%len(b.conns)], nil
}

// straight gives a connection to one pod; the caller closes it.
func (r *Runner) straight(ip string, port int) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///"+r.reach(ip, port), append(common(), grpc.WithStatsHandler(sentMarker{}))...)
}

// hostPort is where a pod is reached.
func hostPort(ip string, port int) string { return net.JoinHostPort(ip, strconv.Itoa(port)) }

func common() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy(), // pods and the gateway are beside us: HTTPS_PROXY is for what is outside
		grpc.WithInitialWindowSize(1 << 20), grpc.WithInitialConnWindowSize(4 << 20), grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(4 << 20)),
		grpc.WithDisableServiceConfig(), grpc.WithDisableRetry(), // another attempt is ours to decide
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 2 * time.Second}, MinConnectTimeout: 3 * time.Second}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}),
	}
}

// sentMarker tells whether anything of a call has left for the network: one that has not never reached
// an instance.
type sentMarker struct{}

type sentKey struct{}

func (sentMarker) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (sentMarker) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (sentMarker) HandleConn(context.Context, stats.ConnStats)                       {}

func (sentMarker) HandleRPC(ctx context.Context, s stats.RPCStats) {
	if _, ok := s.(*stats.OutHeader); !ok {
		return
	}
	if f, ok := ctx.Value(sentKey{}).(func()); ok {
		f()
	}
}

// lane is a line of executions of a build that are carried in one way: no more than its limit at a
// time, the rest in order of arrival.
type lane struct {
	b     *backend
	limit int
	carry func(*run)

	mu     sync.Mutex
	queue  []*run
	flying map[*run]bool
}

// enter lets an execution wait for its place. What was begun before has its place at once.
func (l *lane) enter(u *run) {
	l.mu.Lock()
	if l.flying == nil {
		l.flying = map[*run]bool{}
	}
	if u.attach {
		l.flying[u] = true
		l.mu.Unlock()
		l.b.r.wg.Go(func() { l.fly(u) })
		return
	}
	l.queue = append(l.queue, u)
	l.mu.Unlock()
	l.next()
}

// next gives free places to those who wait.
func (l *lane) next() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.queue) > 0 && len(l.flying) < l.limit && l.b.r.life.Err() == nil {
		u := l.queue[0]
		l.queue[0] = nil
		l.queue = l.queue[1:]
		l.flying[u] = true
		l.b.r.wg.Go(func() { l.fly(u) })
	}
	if len(l.queue) == 0 {
		l.queue = nil
	}
}

func (l *lane) fly(u *run) {
	l.carry(u)
	l.leave(u)
}

// leave frees an execution's place.
func (l *lane) leave(u *run) {
	l.mu.Lock()
	delete(l.flying, u)
	l.mu.Unlock()
	l.next()
}

// withdraw takes an execution out of the line; false if it is not there any more.
func (l *lane) withdraw(u *run) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, q := range l.queue {
		if q == u {
			l.queue = append(l.queue[:i:i], l.queue[i+1:]...)
			return true
		}
	}
	return false
}

// inFlight are the executions that have a place.
func (l *lane) inFlight() []*run {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]*run, 0, len(l.flying))
	for u := range l.flying {
		out = append(out, u)
	}
	return out
}

// startError makes the failure of executions that could not be sent.
func startError(err error) *domain.StepError {
	return &domain.StepError{Kind: "unavailable", Message: "the action could not be started: " + err.Error(), Retryable: true}
}

func failed(kind, message string, retryable bool) app.Ended {
	return app.Ended{Outcome: app.Failed, Error: &domain.StepError{Kind: kind, Message: message, Retryable: retryable}}
}
