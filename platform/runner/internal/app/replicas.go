package app

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/runner/internal/app/rendezvous"
)

// Incarnation is one life of a replica, as the others see it.
type Incarnation struct {
	Fence   int64
	Name    string
	Address string // where its peers reach it, "" = nowhere
	Estate  string // what an heir needs, see Heir
	Leased  bool   // it renews a lease; one without is gone as soon as another begins
	Expired bool   // its lease has run out, by the database's clock
}

// Estate is what a fenced incarnation left to its heir.
type Estate struct {
	Fence int64
	Text  string
}

// Heritage is what a take-over brings.
type Heritage struct {
	Runs    []string // claimed, and do not only wait
	Holds   [][]byte // Sleep.Holds of those that do
	Estates []Estate // not settled yet, also those of whom the dead one was heir
}

// Signal wakes replicas. A lost one is made good by a poll.
type Signal struct {
	To    int64 // fence, 0 = all
	Topic string
}

// The topics of signals.
const (
	SignalListening   = "listening" // told by Listen itself: signals of before may be lost
	signalInbox       = "inbox"
	signalDeployments = "deployments"
	signalSettings    = "settings"
	signalReplicas    = "replicas"
)

// Replicas is the part of the Store that replicas on one database share. Times are the database's.
type Replicas interface {
	// Begin begins an incarnation with a lease, or without one (0).
	Begin(ctx context.Context, i Incarnation, lease time.Duration) (fence int64, err error)
	// Renew prolongs a lease. It returns ErrFenced if it has run out or the incarnation is fenced.
	Renew(ctx context.Context, fence int64, lease time.Duration) error
	// EndLease gives a lease back, so that others need not wait for it to run out.
	EndLease(ctx context.Context, fence int64) error
	// Incarnations lists those that are not fenced.
	Incarnations(ctx context.Context) ([]Incarnation, error)
	// TakeOver fences an incarnation that has no lease any more, or is surely dead; it waits for
	// its commits under way. In one transaction the heir becomes the owner of its runs, its
	// sources and its estates. Nothing is inherited if it lives, or another heir was faster.
	// ErrFenced: the heir itself has been taken over.
	TakeOver(ctx context.Context, dead, heir int64, surely bool) (Heritage, error)
	// Settle notes that the estates of these incarnations are dealt with.
	Settle(ctx context.Context, fences []int64) error
	// Unsettled tells whether there are estates of fenced incarnations that are not.
	Unsettled(ctx context.Context) (bool, error)
	// Owner tells who acts for a run; false if it has ended.
	Owner(ctx context.Context, run string) (Incarnation, bool, error)
	// Inbox lists the commands to an incarnation's runs, the oldest first.
	Inbox(ctx context.Context, owner int64) ([]InboxCommand, error)
	// HoldSource makes an incarnation the keeper of a source, or of something else that one replica
	// does at a time, unless another one that lives is. free tells whether it may take what nobody
	// has kept before.
	HoldSource(ctx context.Context, place string, owner int64, free bool) (mine bool, err error)
	// PeerKey is a secret of this database, by which its replicas know each other.
	PeerKey(ctx context.Context) (string, error)
	Notify(ctx context.Context, g Signal) error
	// Listen hands signals to take, one at a time, until ctx is done or the connection breaks.
	Listen(ctx context.Context, take func(Signal)) error
}

// Heir deals with the attempts of incarnations that are gone. An executor whose instances
// outlive a runner implements it.
type Heir interface {
	// Estate is what an heir of this process needs to find its instances. Abandon changes it.
	Estate() string
	// Gone tells that the process of an estate has surely ended. False: not known.
	Gone(estate string) bool
	// Inherit makes the instances of an estate findable by Attach, or ends them with all that
	// they had started and lets Attach tell their attempts lost. Idempotent.
	Inherit(ctx context.Context, estate string) error
	// Abandon ends every instance of this process: it has lost its runs to others.
	Abandon()
}

// lifetime is the context of the incarnation under way. The engine holds one for good; what it
// stands for is replaced when a new incarnation begins.
type lifetime struct {
	now atomic.Pointer[context.Context]
}

func newLifetime() *lifetime {
	l := &lifetime{}
	l.set(context.Background())
	return l
}

func (l *lifetime) set(ctx context.Context)     { l.now.Store(&ctx) }
func (l *lifetime) Deadline() (time.Time, bool) { return (*l.now.Load()).Deadline() }
func (l *lifetime) Done() <-chan struct{}       { return (*l.now.Load()).Done() }
func (l *lifetime) Err() error                  { return (*l.now.Load()).Err() }
func (l *lifetime) Value(key any) any           { return (*l.now.Load()).Value(key) }

// currentJournal is the journal of the incarnation under way.
type currentJournal struct{ j atomic.Pointer[Journal] }

func (c *currentJournal) set(j Journal)                 { c.j.Store(&j) }
func (c *currentJournal) Append(entries ...*Entry)      { (*c.j.Load()).Append(entries...) }
func (c *currentJournal) Run(ctx context.Context) error { return (*c.j.Load()).Run(ctx) }
func (c *currentJournal) Stalled() error                { return (*c.j.Load()).Stalled() }

// tenure is this replica's hold on what it acts for.
type tenure struct {
	fence atomic.Int64
	until atomic.Int64 // nanoseconds after begun
	begun time.Time

	mu    sync.Mutex
	peers []Incarnation // that live, without us
	since map[int64]time.Time
	owed  []Heritage // claimed, and not taken up yet
	poke  chan struct{}
	inbox chan struct{}
	news  chan string // topics to be looked into
	out   chan Signal
}

func newTenure(now time.Time) *tenure {
	return &tenure{begun: now, since: map[int64]time.Time{}, poke: make(chan struct{}, 1), inbox: make(chan struct{}, 1), news: make(chan string, 16), out: make(chan Signal, 256)}
}

// alone tells that this process is the only one on its store.
func (s *Service) alone() bool { return s.cfg.Lease == 0 }

// held tells whether this replica may act: one that was stopped for a while must not, before it
// knows whether others have taken over.
func (e *engine) held() bool {
	t := e.svc.tenure
	return e.svc.alone() || e.now().Sub(t.begun) < time.Duration(t.until.Load())
}

// Held tells whether this replica may act for its runs just now.
func (s *Service) Held() bool { return s.engine.held() }

// begin begins an incarnation.
func (s *Service) begin(ctx context.Context) (int64, error) {
	i := Incarnation{Name: s.cfg.Name}
	if s.deps.Heir != nil {
		i.Estate = s.deps.Heir.Estate()
	}
	if s.deps.Peers != nil {
		i.Address = s.deps.Peers.Address()
	}
	asked := s.now()
	fence, err := s.deps.Store.Begin(ctx, i, s.cfg.Lease)
	if err != nil {
		return 0, fmt.Errorf("begin an incarnation: %w", err)
	}
	s.tenure.fence.Store(fence)
	s.tenure.until.Store(int64(asked.Add(s.cfg.Lease).Sub(s.tenure.begun)))
	return fence, nil
}

// keepLease renews the lease until ctx is done. Its end, as ErrFenced, is told to lost: from then
// on others may act for our runs.
func (s *Service) keepLease(ctx context.Context, fence int64, lost func(error)) {
	t := time.NewTicker(s.cfg.Beat)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		asked := s.now()
		left := time.Duration(s.tenure.until.Load()) - asked.Sub(s.tenure.begun)
		if left <= 0 {
			lost(fmt.Errorf("%w: the lease could not be renewed in time", ErrFenced))
			return
		}
		renewing, cancel := context.WithTimeout(ctx, left)
		err := s.deps.Store.Renew(renewing, fence, s.cfg.Lease)
		cancel()
		switch {
		case err == nil:
			s.tenure.until.Store(int64(asked.Add(s.cfg.Lease).Sub(s.tenure.begun)))
		case errors.Is(err, ErrFenced):
			lost(err)
			return
		case ctx.Err() == nil:
			s.deps.Log.Warn("the lease could not be renewed", "error", err, "left", left)
		}
	}
}

// watchOthers takes over from replicas that die, until ctx is done.
func (s *Service) watchOthers(ctx context.Context, fence int64) {
	t := time.NewTicker(s.cfg.Beat)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		case <-s.tenure.poke:
		}
		if err := s.takeOver(ctx, fence); err != nil && ctx.Err() == nil {
			s.deps.Log.Warn("take over from others", "error", err)
		}
	}
}

// takeOver fences what is dead, as far as it is this replica's turn, and takes up its runs. Called
// by one goroutine at a time.
func (s *Service) takeOver(ctx context.Context, fence int64) error {
	all, err := s.deps.Store.Incarnations(ctx)
	if err != nil {
		return err
	}
	var peers, dead []Incarnation
	fences := []int64{fence}
	sure := map[int64]bool{}
	for _, i := range all {
		if i.Fence == fence {
			continue
		}
		sure[i.Fence] = s.alone() || (s.deps.Heir != nil && i.Estate != "" && s.deps.Heir.Gone(i.Estate))
		if sure[i.Fence] || !i.Leased || i.Expired {
			dead = append(dead, i)
		} else {
			peers, fences = append(peers, i), append(fences, i.Fence)
		}
	}
	s.meet(peers)
	for _, d := range dead {
		if !s.isHeir(d, fences) {
			continue
		}
		s.claiming.Lock()
		h, err := s.deps.Store.TakeOver(ctx, d.Fence, fence, sure[d.Fence])
		s.adoptAsleep(h)
		s.claiming.Unlock()
		if err != nil {
			return fmt.Errorf("take over from incarnation %d: %w", d.Fence, err)
		}
		if len(h.Runs) > 0 && !s.alone() {
			s.deps.Log.Info("taken over from a replica", "replica", d.Name, "incarnation", d.Fence, "runs", len(h.Runs))
		}
		s.tenure.owed = append(s.tenure.owed, h)
	}
	for len(s.tenure.owed) > 0 {
		if err := s.inherit(ctx, fence, s.tenure.owed[0]); err != nil {
			return err
		}
		s.tenure.owed = s.tenure.owed[1:]
		s.tellLive() // a source may be ours now
		if s.up.Load() {
			s.resumeBulks(ctx)
		}
	}
	return nil
}

// meet notes who else lives.
func (s *Service) meet(peers []Incarnation) {
	t := s.tenure
	t.mu.Lock()
	same := slices.EqualFunc(t.peers, peers, func(a, b Incarnation) bool { return a.Fence == b.Fence })
	t.peers = peers
	t.mu.Unlock()
	if !same {
		s.engine.limits().Changed()
		s.tellLive()
	}
}

// isHeir tells whether it is this replica's turn to take over. A replica of the dead one's own
// name comes first, since it is its restart; the chosen one is waited for during one lease.
func (s *Service) isHeir(dead Incarnation, live []int64) bool {
	if s.alone() || dead.Name == s.cfg.Name || rendezvous.Choose(fmt.Sprint("heir ", dead.Fence), live) == s.tenure.fence.Load() {
		return true
	}
	since, ok := s.tenure.since[dead.Fence]
	if !ok {
		since = s.now()
		s.tenure.since[dead.Fence] = since
	}
	return s.now().Sub(since) > s.cfg.Lease
}

// inherit makes attempts findable, then takes up the runs.
func (s *Service) inherit(ctx context.Context, fence int64, h Heritage) error {
	var settled []int64
	for _, e := range h.Estates {
		if s.deps.Heir != nil {
			if err := s.deps.Heir.Inherit(ctx, e.Text); err != nil {
				return fmt.Errorf("inherit the instances of incarnation %d: %w", e.Fence, err)
			}
		}
		settled = append(settled, e.Fence)
	}
	if err := s.recover(ctx, fence, h.Runs); err != nil {
		return err
	}
	s.owed.Add(1)
	s.settling.Go(func() { s.settleEstates(ctx, s.engine.limits(), settled) })
	return nil
}

// listen follows signals and backs them up with polls, until ctx is done.
func (s *Service) listen(ctx context.Context) {
	for wait := 100 * time.Millisecond; ctx.Err() == nil; wait = min(2*wait, 5*time.Second) {
		begun := s.now()
		err := s.deps.Store.Listen(ctx, s.signalled)
		if ctx.Err() != nil {
			return
		}
		s.deps.Log.Warn("signals of other replicas are late: the database's connection broke", "error", err)
		if s.now().Sub(begun) > time.Minute {
			wait = 100 * time.Millisecond
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
		case <-t.C:
		}
	}
}

// signalled passes a signal on to those who look into it.
func (s *Service) signalled(g Signal) {
	if g.To != 0 && g.To != s.tenure.fence.Load() {
		return
	}
	t := s.tenure
	look := func(c chan struct{}) {
		select {
		case c <- struct{}{}:
		default:
		}
	}
	switch g.Topic {
	case signalInbox:
		look(t.inbox)
	case signalReplicas:
		look(t.poke)
		if node := s.engine.limits(); node != nil {
			node.Changed()
		}
	case signalDeployments, signalSettings:
		select {
		case t.news <- g.Topic:
		default: // the poll finds it
		}
	case SignalListening:
		look(t.inbox)
		look(t.poke)
		s.signalled(Signal{Topic: signalDeployments})
		s.signalled(Signal{Topic: signalSettings})
	}
}

// signal tells other replicas, soon. It never blocks.
func (s *Service) signal(to int64, topic string) {
	if s.alone() {
		return
	}
	select {
	case s.tenure.out <- Signal{To: to, Topic: topic}:
	default: // so many wait that one of them is for the same, or the poll finds it
	}
}

// signalEvery is the least time between two batches of signals of one replica.
const signalEvery = 10 * time.Millisecond

// sendSignals sends what signal was told, each once for each batch, until ctx is done.
func (s *Service) sendSignals(ctx context.Context) {
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		var first Signal
		select {
		case <-ctx.Done():
			return
		case first = <-s.tenure.out:
		}
		batch := map[Signal]bool{first: true}
		for more := true; more; {
			select {
			case g := <-s.tenure.out:
				batch[g] = true
			default:
				more = false
			}
		}
		for g := range batch {
			if err := s.deps.Store.Notify(ctx, g); err != nil && ctx.Err() == nil {
				s.deps.Log.Warn("signal to other replicas", "topic", g.Topic, "error", err)
			}
		}
		t.Reset(signalEvery)
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// readInbox carries out the commands that others put into the inbox of our runs.
func (s *Service) readInbox(ctx context.Context, fence int64) {
	t := time.NewTicker(s.cfg.Beat)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		case <-s.tenure.inbox:
		}
		list, err := s.deps.Store.Inbox(ctx, fence)
		if err != nil && ctx.Err() == nil {
			s.deps.Log.Warn("the inbox could not be read", "error", err)
		}
		for _, c := range list {
			err := s.rouse(ctx, "", c.Run, func(sh *shard, r *liveRun) { sh.order(r, c) })
			if err != nil && ctx.Err() == nil && !errors.Is(err, errElsewhere) {
				s.deps.Log.Warn("command not carried out yet", "run", c.Run, "command", c.ID, "error", err)
			}
		}
	}
}

// readNews keeps deployments, secrets and variables current.
func (s *Service) readNews(ctx context.Context) {
	t := time.NewTicker(5 * s.cfg.Beat)
	defer t.Stop()
	for {
		topics := []string{signalDeployments, signalSettings}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		case one := <-s.tenure.news:
			topics = []string{one}
		}
		for _, topic := range topics {
			var err error
			if topic == signalSettings {
				err = s.loadSettings(ctx)
			} else {
				err = s.refresh(ctx)
			}
			if err != nil && ctx.Err() == nil {
				s.deps.Log.Warn("news of other replicas could not be read", "topic", topic, "error", err)
			}
		}
	}
}

// errElsewhere tells that another replica acts for a run.
var errElsewhere = errors.New("another replica acts for this run")

// elsewhere tells which other replica acts for a run that has not ended.
func (s *Service) elsewhere(ctx context.Context, run string) (Incarnation, bool) {
	if s.alone() {
		return Incarnation{}, false
	}
	i, found, err := s.deps.Store.Owner(ctx, run)
	return i, err == nil && found && i.Fence != s.tenure.fence.Load()
}

// HoldSource makes this replica the keeper of a source, by its place (project, workflow and
// trigger); false: another one keeps it. It must be asked again when Live's list changes.
func (s *Service) HoldSource(ctx context.Context, place string) (bool, error) {
	if err := s.isReady(); err != nil {
		return false, err
	}
	return s.hold(ctx, "source "+place, false)
}

// hold makes this replica the keeper of something that one replica does at a time. What nobody has
// kept before goes to the replica that is chosen for it, or to this one if it is asked for here.
func (s *Service) hold(ctx context.Context, place string, here bool) (bool, error) {
	if s.alone() {
		return true, nil
	}
	fence := s.tenure.fence.Load()
	live := []int64{fence}
	for _, p := range s.others() {
		live = append(live, p.Fence)
	}
	return s.deps.Store.HoldSource(ctx, place, fence, here || rendezvous.Choose(place, live) == fence)
}

// others are the replicas that live, without this one.
func (s *Service) others() []Incarnation {
	s.tenure.mu.Lock()
	defer s.tenure.mu.Unlock()
	return slices.Clone(s.tenure.peers)
}

// forgetRuns lets go of every run after an incarnation's end, when no shard and no writer works any more:
// what was waited for is asked again, of whoever acts for it then.
func (s *Service) forgetRuns() {
	for _, sh := range s.engine.shards {
		for _, r := range sh.runs {
			sh.drop(r, nil)
		}
		sh.mu.Lock()
		sh.inbox = nil
		sh.mu.Unlock()
		sh.timers, sh.pending = nil, nil
	}
	s.mu.Lock()
	for id, c := range s.sleepers {
		delete(s.sleepers, id)
		close(c)
	}
	s.mu.Unlock()
	s.tenure.owed = nil
}

// codeNotServing tells clients that nothing was done: what they asked for may be sent again.
const codeNotServing = "not_serving"

func errNotServing() error {
	return fault.New(fault.Unavailable, "the runner is starting; try again in a moment").WithCode(codeNotServing)
}
