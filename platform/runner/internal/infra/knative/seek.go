package knative

import (
	"context"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/metadata"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	pb "github.com/pelton-run/pelton/wrapper/wrapperpb"
)

// seeking asks every instance of a build for executions of which nobody knows where they are, those of
// all who ask together.
type seeking struct {
	b *backend

	mu      sync.Mutex
	lost    map[string]*sought
	working bool
}

// sought is one execution that is looked for.
type sought struct {
	u       *run
	answers []chan *pod // of all who ask; nil = no instance has it, or ever will
}

func (x *sought) tell(p *pod) {
	for _, a := range x.answers {
		a <- p
	}
}

// ask gives the instance that has an execution, nil if none has and none can come to have it. It
// waits, at the longest until no call under way can begin it any more and every instance has answered
// or is surely over.
func (s *seeking) ask(u *run) *pod {
	answer := make(chan *pod, 1)
	s.mu.Lock()
	if s.lost == nil {
		s.lost = map[string]*sought{}
	}
	x := s.lost[u.x.ID]
	if x == nil || x.u != u {
		x = &sought{u: u}
		s.lost[u.x.ID] = x
	}
	x.answers = append(x.answers, answer)
	if !s.working {
		s.working = true
		s.b.r.wg.Go(s.work)
	}
	s.mu.Unlock()
	select {
	case p := <-answer:
		return p
	case <-s.b.r.life.Done():
		return nil
	}
}

// round asks at most this often.
const round = 300 * time.Millisecond

func (s *seeking) work() {
	r := s.b.r
	silent := map[string]time.Time{} // pod's uid -> since when it does not answer
	for {
		s.mu.Lock()
		if len(s.lost) == 0 || r.life.Err() != nil {
			s.working = false
			s.mu.Unlock()
			return
		}
		ids := make([]string, 0, len(s.lost))
		for id := range s.lost {
			ids = append(ids, id)
		}
		s.mu.Unlock()
		begun := time.Now()
		pods, _ := r.pods.of(s.b.ns, shortBuild(s.b.o.build.Digest))
		where, all := s.askAll(pods, ids, silent)
		all = all && r.pods.synced()
		s.mu.Lock()
		for _, id := range ids {
			x := s.lost[id]
			if p := where[id]; p != nil {
				x.tell(p)
				delete(s.lost, id)
			} else if all && begun.After(x.u.lastChance()) {
				x.tell(nil)
				delete(s.lost, id)
			}
		}
		s.mu.Unlock()
		t := time.NewTimer(max(round, time.Since(begun)))
		select {
		case <-t.C:
		case <-r.life.Done():
		}
		t.Stop()
	}
}

// lastChance is when what was sent of an execution can begin no more.
func (u *run) lastChance() time.Time {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.until.Add(u.r.times.skew)
}

// askAll asks every pod that lives; all tells that each has answered or can have nothing.
func (s *seeking) askAll(pods []*pod, ids []string, silent map[string]time.Time) (where map[string]*pod, all bool) {
	where, all = map[string]*pod{}, true
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, p := range pods {
		if p.over || p.ip == "" {
			continue // nothing runs there, or not yet
		}
		wg.Go(func() {
			known, err := s.askOne(p, ids)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				since, before := silent[p.uid]
				if !before {
					silent[p.uid] = time.Now()
				}
				if !before || time.Since(since) < unreachable {
					all = false
				}
				return
			}
			delete(silent, p.uid)
			for _, id := range known {
				where[id] = p
			}
		})
	}
	wg.Wait()
	return where, all
}

// askOne tells which of the executions a pod has.
func (s *seeking) askOne(p *pod, ids []string) (known []string, err error) {
	err = s.b.ask(s.b.r.life, p, func(ctx context.Context, wrapper pb.ActionClient) error {
		for part := range slices.Chunk(ids, 1000) {
			d, err := wrapper.Describe(ctx, &pb.DescribeRequest{Needs: []string{"find"}, Executions: part})
			if err != nil {
				return err
			}
			known = append(known, d.Known...)
		}
		return nil
	})
	return known, err
}

// ask calls a pod's wrapper past queue-proxy, which would let a question wait behind the executions of a busy pod.
func (b *backend) ask(ctx context.Context, p *pod, do func(context.Context, pb.ActionClient) error) error {
	conn, err := b.r.straight(p.ip, userPort)
	if err != nil {
		return err
	}
	defer conn.Close()
	token, _, err := b.r.token(audienceOf(b.o.project, b.o.build.Digest))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	return do(metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token), pb.NewActionClient(conn))
}

// roleWas says what carries an execution that a life before this one began: the setting long, by which that goes, may have
// been another then. A Job that is there has it, and a service's instance that knows it.
func (u *run) roleWas() string {
	has, ok := u.b.made.has(u)
	switch {
	case !ok || has:
		return roleJob
	case u.role == roleService:
		return roleService
	}
	silent := map[string]time.Time{}
	for ; u.r.life.Err() == nil && !u.over(); u.pauseHard(round) {
		if !u.r.pods.synced() {
			continue
		}
		pods, _ := u.r.pods.of(u.b.ns, shortBuild(u.b.o.build.Digest))
		where, all := u.b.seek.askAll(pods, []string{u.x.ID}, silent)
		if where[u.x.ID] != nil {
			return roleService
		}
		if all {
			break
		}
	}
	return roleJob
}

// madeJobs are the Jobs that a build has, as listed a moment ago for all who ask together: a runner that starts again
// attaches to everything at once.
type madeJobs struct {
	mu    sync.Mutex
	names map[string]bool
	at    time.Time
}

// has tells whether an execution has a Job, once the cluster answers; false if the platform stops before.
func (m *madeJobs) has(u *run) (has, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	name := jobName(u.x.ID)
	for u.r.life.Err() == nil && !u.over() {
		if time.Since(m.at) < time.Second {
			return m.names[name], true
		}
		asked := time.Now()
		list, err := u.r.cluster.in(jobs, u.b.ns).List(u.r.life, metav1.ListOptions{
			LabelSelector: labelManaged + "=pelton," + labelInstallation + "=" + u.r.set.Installation + "," + labelBuild + "=" + shortBuild(u.b.o.build.Digest)})
		if err != nil {
			u.pauseHard(time.Second)
			continue
		}
		m.names, m.at = map[string]bool{}, asked
		for i := range list.Items {
			m.names[list.Items[i].GetName()] = true
		}
	}
	return false, false
}
