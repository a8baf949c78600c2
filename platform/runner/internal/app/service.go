package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
)

// Config sets up the use cases.
type Config struct {
	// Name of this replica, one of its own among those that share a store. Defaults to "runner".
	Name string
	// Lease is how long this replica may be silent before others take over its runs. 0: it is the
	// only one on its store, and takes over at its start.
	Lease time.Duration
	// Beat is how often a lease is renewed and what signals have missed is looked for. Defaults to
	// a fifth of Lease.
	Beat time.Duration
	// Shards is the number of goroutines that runs are spread over. Defaults to 4.
	Shards int
	// CancelGrace is how long an attempt may take to stop by itself. Defaults to 10 s.
	CancelGrace time.Duration
	// DedupTTL is how long an idempotency key is kept. Defaults to 7 days.
	DedupTTL time.Duration
	// MaxLiveRuns is how many runs of one project may be under way. Defaults to 10,000.
	MaxLiveRuns int
	// Ahead lets attempts of steps that are pure and hold no place start before the rows that say so are
	// durable (ADR 0028). It is for an Executor whose executions outlive this process and which takes a
	// second Start of one for the first, while no other process acts on the store.
	Ahead bool
	// SleepAfter is how far off its next due time must be for a run that only waits to leave
	// memory. Defaults to 30 s.
	SleepAfter time.Duration
	// MaxSteps is how many action steps may be under way at a time over all projects. Defaults to
	// no bound; the compute has bounds of its own.
	MaxSteps int
	// Retention is how long ended runs are kept. Defaults to for ever.
	Retention Retention
}

// Deps is what the use cases need. All but Heir, Peers, Metrics and Log are required.
type Deps struct {
	Store    Store
	Journal  func(fence int64) Journal // made anew after each take-over
	Compiler domain.Compiler
	Deployer Deployer
	Executor Executor
	Heir     Heir  // nil: attempts end with the process of their runner
	Peers    Peers // nil: replicas meet in the database alone
	Files    Files
	Cipher   Cipher
	Announce Announcer
	Schemas  Schemas
	Calendar Calendar
	Now      func() time.Time
	NewID    func() string  // UUIDv7
	Jitter   func() float64 // in [0,1)
	Metrics  Metrics
	Log      *slog.Logger // Defaults to slog.Default()
}

// Service is the runner's use cases. New, then Run; the others answer once Ready is closed,
// and with an unavailable fault before.
type Service struct {
	cfg    Config
	deps   Deps
	engine *engine
	ready  chan struct{}
	up     atomic.Bool // an incarnation is under way and its runs are taken up
	now    func() time.Time
	// owed counts estates that are taken over and not settled.
	owed     atomic.Int64
	settling sync.WaitGroup
	claiming sync.RWMutex // held for writing while runs are claimed and what they hold is adopted
	// stopping tells that Run's context is done.
	stopping atomic.Bool
	tenure   *tenure
	life     *lifetime
	book     *currentJournal

	wanting sync.Mutex // held while asked is read

	mu        sync.Mutex
	live      []Deployment
	byName    map[string]string     // project/workflow -> live deployment
	shared    map[string]Deployment // those of the live ones with which others share, by every id that they name
	changed   chan struct{}
	refreshed time.Time
	carrying  map[string]bool           // bulk orders
	rests     map[string]PausedWorkflow // by project/workflow
	asked     map[string]Wants          // by project, of others
	marks     []string                  // of the live deployments, when they were last read
	plans     map[string]*domain.Plan
	briefs    map[string]bool          // those of plans that say durability: none
	starts    map[string]chan struct{} // idempotency keys being started
	under     map[string]int           // runs under way by project
	// sleepers are closed when their run comes back into memory.
	sleepers map[string]chan struct{}
}

var _ UseCases = (*Service)(nil)

// New makes the use cases. It does no I/O.
func New(cfg Config, deps Deps) *Service {
	if cfg.Name == "" {
		cfg.Name = "runner"
	}
	if cfg.Shards <= 0 {
		cfg.Shards = 4
	}
	if cfg.CancelGrace == 0 {
		cfg.CancelGrace = 10 * time.Second
	}
	if cfg.DedupTTL == 0 {
		cfg.DedupTTL = 7 * 24 * time.Hour
	}
	if cfg.MaxLiveRuns == 0 {
		cfg.MaxLiveRuns = 10_000
	}
	if cfg.SleepAfter == 0 {
		cfg.SleepAfter = sleepWindow
	}
	if cfg.Beat == 0 {
		cfg.Beat = cfg.Lease / 5
	}
	if cfg.Retention.Files == 0 {
		cfg.Retention.Files = 48 * time.Hour
	}
	if cfg.Retention.Every == 0 {
		cfg.Retention.Every = time.Hour
	}
	if deps.Log == nil {
		deps.Log = slog.Default()
	}
	s := &Service{cfg: cfg, deps: deps, ready: make(chan struct{}), now: deps.Now, life: newLifetime(), book: &currentJournal{},
		byName: map[string]string{}, changed: make(chan struct{}), plans: map[string]*domain.Plan{}, starts: map[string]chan struct{}{}, under: map[string]int{}, sleepers: map[string]chan struct{}{}, carrying: map[string]bool{}, briefs: map[string]bool{}, rests: map[string]PausedWorkflow{}}
	s.deps.Store = keptStore{deps.Store, s}
	s.engine = &engine{exec: deps.Executor, files: deps.Files, secrets: newSecretBook(deps.Cipher), now: deps.Now,
		jitter: deps.Jitter, metrics: deps.Metrics, log: deps.Log, grace: cfg.CancelGrace, logs: newLogWriter(deps.Store, deps.Log), svc: s, sleepAfter: cfg.SleepAfter, ahead: cfg.Ahead && cfg.Lease == 0,
		journal: s.book, stop: s.life, caps: newCapBook(cfg.MaxSteps)}
	s.engine.gather, _ = deps.Executor.(Gatherer)
	if deps.Now != nil {
		s.tenure = newTenure(deps.Now())
	}
	for range cfg.Shards {
		s.engine.shards = append(s.engine.shards, newShard(s.engine))
	}
	return s
}

// Ready is closed once the take-over is done and runs can be started.
func (s *Service) Ready() <-chan struct{} { return s.ready }

// Run begins an incarnation, takes over from those before it, takes up their runs and drives them
// until ctx is done. With a lease it lets go of everything when it has lost that, and begins anew,
// also where it had not come up yet; without one it returns ErrFenced when another incarnation has taken over: the process must stop
// then. Run may be called once.
func (s *Service) Run(ctx context.Context) error {
	if err := s.deps.Store.EnsurePartitions(ctx, s.now()); err != nil {
		return fmt.Errorf("make the journal's partitions: %w", err)
	}
	defer context.AfterFunc(ctx, func() { s.stopping.Store(true) })()
	for wait := time.Duration(0); ; {
		began := s.now()
		err := s.incarnation(ctx)
		if ctx.Err() != nil && !s.alone() && errors.Is(err, ErrFenced) {
			return nil // it was about to begin anew
		}
		if ctx.Err() != nil || err == nil || s.alone() {
			return err
		}
		select {
		case <-s.ready:
		default:
			if !errors.Is(err, ErrFenced) {
				return err // it never was up: whoever starts the process sees why
			}
		}
		if s.now().Sub(began) > time.Minute {
			wait = 0
		}
		s.deps.Log.Error("the runs of this replica are left to others; it begins anew", "why", err, "after", wait)
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return nil
		case <-t.C:
		}
		wait = min(2*wait+100*time.Millisecond, 5*time.Second)
	}
}

// incarnation is one life of this replica.
func (s *Service) incarnation(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	fence, err := s.begin(ctx)
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	if !s.alone() { // at once: what follows may take its time
		wg.Go(func() { s.keepLease(ctx, fence, cancel) })
	}
	if err := s.load(ctx); err != nil {
		if lost := context.Cause(ctx); errors.Is(lost, ErrFenced) {
			err = lost
		}
		cancel(nil)
		wg.Wait()
		return err
	}
	e := s.engine
	s.book.set(s.deps.Journal(fence))
	s.life.set(ctx)
	// The journal and the logs outlive the shards by a moment, so that what these have
	// handed over is written.
	writers, stopWriters := context.WithCancel(context.WithoutCancel(ctx))
	var journalErr error
	var writing sync.WaitGroup
	writing.Go(func() {
		journalErr = e.journal.Run(writers)
		cancel(journalErr)
	})
	writing.Go(func() { e.logs.loop(writers) })
	for _, sh := range e.shards {
		wg.Go(func() { sh.loop(ctx) })
	}
	s.startLimits(ctx, fence, &wg)
	wg.Go(func() { s.keepPartitions(ctx) })
	if err = s.ensureLive(ctx); err == nil {
		err = s.takeOver(ctx, fence)
	}
	if err == nil {
		s.startTasks(ctx, fence, &wg)
		s.up.Store(true)
		e.limits().Changed()
		s.nowReady()
		s.tellLive()
		<-ctx.Done()
	}
	lost := context.Cause(ctx)
	s.up.Store(false)
	cancel(nil)
	wg.Wait()
	s.settling.Wait()
	e.bulk.Wait()
	stopWriters()
	writing.Wait()
	s.tellLive()
	s.leave(ctx, fence, errors.Is(lost, ErrFenced))
	switch {
	case errors.Is(journalErr, ErrFenced):
		return journalErr
	case errors.Is(lost, ErrFenced):
		return lost
	case err != nil && lost == nil:
		return err
	}
	return nil
}

// startTasks starts what goes on beside the shards.
func (s *Service) startTasks(ctx context.Context, fence int64, wg *sync.WaitGroup) {
	wg.Go(func() { s.finishDeploying(ctx) })
	wg.Go(func() { s.wakeLoop(ctx) })
	wg.Go(func() { s.resumeBulks(ctx) })
	wg.Go(func() { s.keepSweeping(ctx) })
	if s.alone() {
		return
	}
	wg.Go(func() { s.watchOthers(ctx, fence) })
	wg.Go(func() { s.listen(ctx) })
	wg.Go(func() { s.sendSignals(ctx) })
	wg.Go(func() { s.readInbox(ctx, fence) })
	wg.Go(func() { s.readNews(ctx) })
	s.signal(0, signalReplicas)
}

func (s *Service) nowReady() {
	select {
	case <-s.ready:
	default:
		close(s.ready)
	}
}

// leave is the end of an incarnation: others may have its runs at once.
func (s *Service) leave(ctx context.Context, fence int64, lost bool) {
	s.forgetRuns()
	if s.alone() {
		return
	}
	if s.deps.Heir != nil && lost {
		s.deps.Heir.Abandon()
	}
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if err := s.deps.Store.EndLease(late, fence); err != nil {
		s.deps.Log.Warn("others take over once the lease has run out: it could not be given back", "error", err)
		return
	}
	_ = s.deps.Store.Notify(late, Signal{Topic: signalReplicas})
}

func (s *Service) keepPartitions(ctx context.Context) {
	t := time.NewTicker(6 * time.Hour)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if err := s.deps.Store.EnsurePartitions(ctx, s.now()); err != nil && ctx.Err() == nil {
			s.deps.Log.Error("the journal's partitions could not be made ahead", "error", err)
		}
	}
}

// loadSettings reads the secrets, variables and caps of all projects.
func (s *Service) loadSettings(ctx context.Context) error {
	secrets, err := s.deps.Store.Secrets(ctx)
	if err != nil {
		return err
	}
	vars, err := s.deps.Store.Variables(ctx)
	if err != nil {
		return err
	}
	s.engine.secrets.replace(secrets, vars)
	caps, err := s.deps.Store.Caps(ctx)
	if err != nil {
		return err
	}
	for project, c := range caps {
		s.applyCaps(project, c)
	}
	if err := s.loadWants(ctx); err != nil {
		return err
	}
	return s.loadPaused(ctx)
}

// load reads what is kept in memory: secrets, variables, standing deployments.
func (s *Service) load(ctx context.Context) error {
	if err := s.loadSettings(ctx); err != nil {
		return err
	}
	standing, err := s.deps.Store.Standing(ctx)
	if err != nil {
		return err
	}
	s.setLive(func(map[string]Deployment) []Deployment {
		return slices.DeleteFunc(standing, func(d Deployment) bool { return d.State != DeploymentLive })
	})
	return nil
}

// recover takes up runs that were claimed, and those that only wait and have been sent something.
func (s *Service) recover(ctx context.Context, fence int64, runs []string) error {
	commands, err := s.deps.Store.Inbox(ctx, fence)
	if err != nil {
		return err
	}
	orders := map[string][]InboxCommand{}
	for _, c := range commands {
		orders[c.Run] = append(orders[c.Run], c)
	}
	count := 0
	ensured := map[string]bool{}
	err = s.deps.Store.Unfinished(ctx, runs, func(l LiveRun) error {
		if !ensured[l.Deployment] && l.Held == "" {
			ensured[l.Deployment] = true
			s.ensureFor(ctx, l.Deployment)
		}
		if err := s.takeUp(ctx, l, orders[l.ID]); err != nil {
			s.deps.Log.Error("run left where it is", "run", l.ID, "workflow", l.Workflow, "error", err)
			return nil
		}
		delete(orders, l.ID)
		count++
		return nil
	})
	if err != nil {
		return fmt.Errorf("take up unfinished runs: %w", err)
	}
	for id := range orders { // runs that only wait, and have something to do now
		if _, err := s.takeUpOne(ctx, id); err != nil {
			s.deps.Log.Error("run left where it is", "run", id, "error", err)
		}
	}
	if count > 0 {
		s.deps.Log.Info("unfinished runs taken up", "runs", count)
	}
	return nil
}

// ensureFor makes the builds callable that runs of a deployment need, live or not. Where
// that fails the runs' attempts tell why.
func (s *Service) ensureFor(ctx context.Context, deployment string) {
	d, err := s.deps.Store.Deployment(ctx, deployment)
	if err == nil && d.State != DeploymentLive {
		if reason := s.ensure(ctx, d); reason != "" {
			err = errors.New(reason)
		}
	}
	if err != nil {
		s.deps.Log.Warn("builds of unfinished runs are not callable", "deployment", deployment, "error", err)
	}
}

func (s *Service) takeUp(ctx context.Context, l LiveRun, orders []InboxCommand) error {
	plan, err := s.plan(ctx, l.Deployment)
	if err != nil {
		return err
	}
	r, err := s.restore(ctx, l, plan)
	if err != nil {
		return err
	}
	s.mu.Lock()
	r.gone = s.countIn(l.Project)
	s.mu.Unlock()
	r.s.Held = l.Held
	r.stored, r.asleep, r.waited = l.State, l.Asleep, true
	r.logSeq.Store(l.LastLog)
	r.logged = map[string]int64{}
	underWay := r.s.UnderWay()
	for _, c := range l.Logged {
		// Of an attempt that ran ahead of the journal there may be records, too.
		if id := domain.ExecutionID(l.ID, c.Step, c.Path, c.Attempt); underWay[id] || r.s.Unheard(c.Step, c.Path, c.Attempt) {
			r.logged[id] = c.Lines
		}
	}
	s.adoptPlaces(r)
	sh := s.engine.shardOf(l.ID)
	sh.post(message{do: func(sh *shard) {
		if sh.runs[l.ID] != nil {
			r.gone()
			return
		}
		sh.runs[l.ID] = r
		if r.s.Held == "" {
			sh.event(r, domain.EventResume{})
		}
		for _, c := range orders {
			sh.order(r, c)
		}
		s.roused(l.ID)
	}})
	return nil
}

func (s *Service) newRun(sum RunSummary, plan *domain.Plan) *liveRun {
	r := &liveRun{
		s: domain.NewState(domain.Run{ID: sum.ID, Project: sum.Project, Deployment: sum.Deployment, CreatedAt: sum.CreatedAt.UnixMicro(),
			Trigger: domain.TriggerRef(sum.Trigger)}, plan),
		summary: sum, stored: sum.State, done: make(chan struct{}), sinks: map[string]*attemptSink{},
	}
	r.s.Capped = !s.engine.caps.of(sum.Project).empty()
	return r
}

func (s *Service) isReady() error {
	select {
	case <-s.ready:
		if s.engine.stop.Err() != nil {
			return fault.New(fault.Unavailable, "the runner is stopping; try again in a moment").WithCode(codeNotServing)
		}
		if !s.up.Load() {
			return errNotServing()
		}
		return nil
	default:
		return errNotServing()
	}
}

var nameRule = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_]{0,127}$`)

func checkName(what, name string) error {
	if !nameRule.MatchString(name) {
		return fault.InvalidField("name", fmt.Sprintf("%q cannot be the name of a %s", name, what), "use letters, digits and _, starting with a letter, at most 128")
	}
	return nil
}

func sortedNames[V any](m map[string]V) []string {
	names := make([]string, 0, len(m))
	for k := range m {
		names = append(names, k)
	}
	slices.Sort(names)
	return names
}
