package postgres

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/eventing/bridge/internal/app"
	"github.com/pelton-run/pelton/eventing/bridge/internal/domain"
	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/kit/id"
	"github.com/pelton-run/pelton/platform/kit/pg"
	"github.com/pelton-run/pelton/platform/kit/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func TestStatements(t *testing.T) {
	pool := pgtest.New(t, "bridge", Migrations, "migrations")
	require.NoError(t, pg.Check(t.Context(), pool, Statements()))
}

// settle wants whatever the first type of anybody says.
func settle(i app.Interests, version int64) (w domain.Wants, m app.Message, err error) {
	for _, x := range i.Subscriptions {
		w.Started = w.Started || slices.Contains(x.Types, domain.RunStarted)
		w.Ended = w.Ended || slices.Contains(x.Types, domain.RunFailed)
	}
	for _, x := range i.Triggers {
		w.Failed = w.Failed || slices.Contains(x.Types, domain.StepFailed)
	}
	return w, app.Message{ID: id.New(), Key: "EventsWanted", Payload: fmt.Append(nil, version, w)}, nil
}

func open(t *testing.T) (*Store, func() []string) {
	pool := pgtest.New(t, "bridge", Migrations, "migrations")
	return New(pool, func() {}), func() (out []string) {
		rows, err := pool.Query(t.Context(), `DELETE FROM outbox RETURNING convert_from(body, 'UTF8')`)
		require.NoError(t, err)
		defer rows.Close()
		for rows.Next() {
			var s string
			require.NoError(t, rows.Scan(&s))
			out = append(out, s)
		}
		return out
	}
}

func add(t *testing.T, s *Store, name string, types ...string) string {
	t.Helper()
	x := domain.Subscription{ID: id.New(), Project: "p", Name: name, Sink: domain.Sink{Kind: "webhook", URL: "http://x/" + name}, Types: types, CreatedAt: time.Now()}
	require.NoError(t, s.AddSubscription(t.Context(), x, settle))
	return x.ID
}

func deliver(t *testing.T, s *Store, message string, list ...domain.Delivery) {
	t.Helper()
	require.NoError(t, s.Record(t.Context(), "q", message, "p", func(app.Interests) ([]domain.Delivery, []app.Message, error) {
		for i := range list {
			list[i].ID, list[i].CreatedAt = id.New(), time.Now()
		}
		return list, nil, nil
	}))
}

// TestWish: the runner is told when what is wanted changes, and not otherwise; a subscription is whole once
// that is in force.
func TestWish(t *testing.T) {
	s, told := open(t)
	state := func(name string) string {
		x, err := s.Subscription(t.Context(), "p", name)
		require.NoError(t, err)
		return x.State()
	}
	add(t, s, "deploys", domain.WorkflowDeployed)
	require.Empty(t, told())
	require.Equal(t, domain.StateActive, state("deploys"))
	a := add(t, s, "starts", domain.RunStarted)
	require.Equal(t, []string{"1 {true false false}"}, told())
	require.Equal(t, domain.StateArming, state("starts"))
	require.NoError(t, s.Armed(t.Context(), "p", 1))
	require.Equal(t, domain.StateActive, state("starts"))
	add(t, s, "starts-too", domain.RunStarted)
	require.Empty(t, told())
	require.Equal(t, domain.StateActive, state("starts-too"))
	err := s.AddSubscription(t.Context(), domain.Subscription{ID: id.New(), Project: "p", Name: "starts", CreatedAt: time.Now()}, settle)
	require.True(t, fault.Is(err, fault.Conflict), "%v", err)
	require.NoError(t, s.RemoveSubscription(t.Context(), "p", a, settle))
	require.Empty(t, told())

	old, next := id.New(), id.New()
	require.NoError(t, s.SetTrigger(t.Context(), "p", app.Trigger{Workflow: "w", Deployment: next, Types: []string{domain.StepFailed}}, settle))
	require.Equal(t, []string{"2 {true false true}"}, told())
	require.NoError(t, s.SetTrigger(t.Context(), "p", app.Trigger{Workflow: "w", Deployment: old}, settle))
	require.NoError(t, s.RemoveTrigger(t.Context(), "p", old, settle))
	require.Empty(t, told(), "an older deployment changes nothing")
	require.NoError(t, s.RemoveTrigger(t.Context(), "p", next, settle))
	require.Equal(t, []string{"3 {true false false}"}, told())
	_, err = s.Subscription(t.Context(), "p", "starts")
	require.True(t, fault.Is(err, fault.NotFound))
}

func claimed(t *testing.T, s *Store, limit, each int) (out []string) {
	t.Helper()
	list, err := s.Claim(t.Context(), limit, each, time.Minute)
	require.NoError(t, err)
	for _, c := range list {
		out = append(out, c.EventID)
	}
	return out
}

// TestDeliveries: a message counts once; of one order the first goes first, and the next only after its end;
// what is given up holds up nobody, and can be sent again.
func TestDeliveries(t *testing.T) {
	s, _ := open(t)
	ctx := context.Background()
	a, b := add(t, s, "a"), add(t, s, "b")
	d := func(sub, order, event string) domain.Delivery {
		return domain.Delivery{Subscription: sub, Project: "p", Order: order, EventID: event, Type: "t", Event: []byte("{}")}
	}
	m := id.New()
	for range 2 {
		deliver(t, s, m, d(a, "r1", "1"), d(a, "r1", "2"), d(a, "r2", "3"), d(b, "r1", "4"), d(id.New(), "r1", "of nobody"))
	}
	list, err := s.Claim(ctx, 10, 10, time.Minute)
	require.NoError(t, err)
	require.Len(t, list, 3)
	require.Equal(t, []string{"1", "3", "4"}, []string{list[0].EventID, list[1].EventID, list[2].EventID})
	require.Equal(t, "http://x/b", list[2].Sink.URL)
	require.Empty(t, claimed(t, s, 10, 10))
	require.NoError(t, s.Failed(ctx, list[0].Delivery, "away", 0, false))
	require.Equal(t, []string{"1"}, claimed(t, s, 10, 10))
	require.NoError(t, s.Delivered(ctx, list[0].Delivery), "another try is under way by now")
	require.Empty(t, claimed(t, s, 10, 10))
	again := list[0].Delivery
	again.Tries = 2
	require.NoError(t, s.Failed(ctx, again, "away\x00", 0, true))
	require.Equal(t, []string{"2"}, claimed(t, s, 10, 10))
	sub, err := s.Subscription(ctx, "p", "a")
	require.NoError(t, err)
	require.Equal(t, []any{1, 2, "away\uFFFD", int64(0)}, []any{sub.Dead, sub.Waiting, sub.LastError, sub.Delivered})

	dead, err := s.Dead(ctx, "p", "", "", 10)
	require.NoError(t, err)
	require.Len(t, dead, 1)
	one, err := s.DeadDelivery(ctx, "p", dead[0].ID)
	require.NoError(t, err)
	require.Equal(t, []any{"1", 2, "away\uFFFD", "{}"}, []any{one.EventID, one.Tries, one.LastError, string(one.Event)})
	n, err := s.Replay(ctx, "p", "", dead[0].ID)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	_, err = s.Replay(ctx, "p", "", dead[0].ID)
	require.True(t, fault.Is(err, fault.NotFound))
	list[0].Tries, list[0].Seq = 1, list[0].Seq+1 // 2
	require.NoError(t, s.Delivered(ctx, list[0].Delivery))
	require.Equal(t, []string{"1"}, claimed(t, s, 10, 10))

	// A gone receiver: what waits is given up; enabled again it takes what is sent again.
	require.NoError(t, s.DisableSubscription(ctx, "p", b, "gone", settle))
	deliver(t, s, id.New(), d(a, "x", "5"))
	sub, err = s.Subscription(ctx, "p", "b")
	require.NoError(t, err)
	require.Equal(t, []any{domain.StateDisabled, 1, 0}, []any{sub.State(), sub.Dead, sub.Waiting})
	n, err = s.Drop(ctx, "p", b, "")
	require.NoError(t, err)
	require.Equal(t, 1, n)

	// Pauses and bounds.
	require.NoError(t, s.PauseSubscription(ctx, "p", a, true))
	require.Empty(t, claimed(t, s, 10, 10))
	require.NoError(t, s.PauseSubscription(ctx, "p", a, false))
	for i := range 5 {
		deliver(t, s, id.New(), d(a, fmt.Sprint("y", i), fmt.Sprint("y", i)))
	}
	// 1 and 3 are under way.
	require.Equal(t, []string{"5", "y0"}, claimed(t, s, 10, 4))
	require.Empty(t, claimed(t, s, 10, 4))
	require.Equal(t, []string{"y1"}, claimed(t, s, 1, 100))
}

// event is a delivery of an order of its own.
func event(sub, id string) domain.Delivery {
	return domain.Delivery{Subscription: sub, Project: "p", Order: id, EventID: id, Type: "t", Event: []byte("{}")}
}

// TestDisabled: what a disabled subscription's tries under way come to does not bring them back, nothing is sent to it,
// and enabled again it is whole only once the wish that counts it in again is in force.
func TestDisabled(t *testing.T) {
	s, told := open(t)
	ctx := t.Context()
	a := add(t, s, "a", domain.RunStarted)
	require.NoError(t, s.Armed(ctx, "p", 1))
	deliver(t, s, id.New(), event(a, "1"), event(a, "2"))
	list, err := s.Claim(ctx, 10, 10, time.Minute)
	require.NoError(t, err)
	require.Len(t, list, 2)
	told()
	require.NoError(t, s.DisableSubscription(ctx, "p", a, "gone", settle))
	require.Equal(t, []string{"2 {false false false}"}, told())
	require.NoError(t, s.Failed(ctx, list[0].Delivery, "away", 0, false))
	require.NoError(t, s.Delivered(ctx, list[1].Delivery))
	sub, err := s.Subscription(ctx, "p", "a")
	require.NoError(t, err)
	require.Equal(t, []any{1, 0, int64(1)}, []any{sub.Dead, sub.Waiting, sub.Delivered})
	n, err := s.Replay(ctx, "p", a, "")
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.Empty(t, claimed(t, s, 10, 10), "it waits")

	require.NoError(t, s.DisableSubscription(ctx, "p", a, "", settle))
	require.Equal(t, []string{"3 {true false false}"}, told())
	sub, err = s.Subscription(ctx, "p", "a")
	require.NoError(t, err)
	require.Equal(t, domain.StateArming, sub.State())
	require.NoError(t, s.Armed(ctx, "p", 3))
	sub, err = s.Subscription(ctx, "p", "a")
	require.NoError(t, err)
	require.Equal(t, domain.StateActive, sub.State())
	require.Equal(t, []string{"1"}, claimed(t, s, 10, 10))
}

// TestShares: of what is due each subscription gets its share, however much waits for another.
func TestShares(t *testing.T) {
	s, _ := open(t)
	a, b := add(t, s, "a"), add(t, s, "b")
	for i := range 5 {
		deliver(t, s, id.New(), event(a, fmt.Sprint("a", i)))
	}
	deliver(t, s, id.New(), event(b, "b0"), event(b, "b1"))
	require.Equal(t, []string{"a0", "a1", "b0"}, claimed(t, s, 3, 8))
	require.Equal(t, []string{"b1"}, claimed(t, s, 1, 8), "a has two under way")
}

// nobody announces.
type nobody struct{ app.Announcer }

func (nobody) EventsWanted(id, _ string, _ int64, _ domain.Wants) (app.Message, error) {
	return app.Message{ID: id, Key: "EventsWanted", Payload: []byte{}}, nil
}

// TestBounds: a subscription for which too much waits is disabled, and dead letters beyond a number or an age are
// forgotten; others are left alone.
func TestBounds(t *testing.T) {
	pool := pgtest.New(t, "bridge", Migrations, "migrations")
	s := New(pool, func() {})
	ctx := t.Context()
	cases := app.New(app.Service{Store: s, Announce: nobody{}, NewID: id.New, Log: slog.New(slog.DiscardHandler)})
	a, b := add(t, s, "a"), add(t, s, "b")
	for i := range 3 {
		deliver(t, s, id.New(), event(a, fmt.Sprint("a", i)), event(b, fmt.Sprint("b", i)))
	}
	deliver(t, s, id.New(), event(a, "a3"))
	bounds := app.Bounds{Waiting: 3, Dead: 3, Age: time.Hour}
	require.NoError(t, cases.TidyNow(ctx, bounds))
	state := func(name string) []any {
		x, err := s.Subscription(ctx, "p", name)
		require.NoError(t, err)
		return []any{x.State(), x.Waiting, x.Dead}
	}
	require.Equal(t, []any{domain.StateDisabled, 0, 3}, state("a"))
	require.Equal(t, []any{domain.StateActive, 3, 0}, state("b"))
	x, err := s.Subscription(ctx, "p", "a")
	require.NoError(t, err)
	require.Equal(t, "more than 3 events waited for it: they are dead letters now", x.Disabled)
	dead, err := s.Dead(ctx, "p", a, "", 10)
	require.NoError(t, err)
	require.Equal(t, []string{"a1", "a2", "a3"}, []string{dead[0].EventID, dead[1].EventID, dead[2].EventID}, "the newest")

	_, err = pool.Exec(ctx, `UPDATE delivery SET died_at = died_at - interval '2 hours' WHERE event_id <> 'a2'`)
	require.NoError(t, err)
	require.NoError(t, cases.TidyNow(ctx, bounds))
	dead, err = s.Dead(ctx, "p", "", "", 10)
	require.NoError(t, err)
	require.Len(t, dead, 1)
	require.Equal(t, "a2", dead[0].EventID)
	require.Equal(t, []any{domain.StateActive, 3, 0}, state("b"))
}

// TestBrokers: a link that is to go is listed until it is forgotten, and may be wanted again meanwhile; the triggers for
// events from outside are those of the newest deployments.
func TestBrokers(t *testing.T) {
	s, _ := open(t)
	ctx := t.Context()
	require.True(t, fault.Is(s.UnlinkBroker(ctx, "p"), fault.NotFound))
	link := domain.BrokerLink{Project: "p", Sealed: []byte("x"), CreatedAt: time.Now().UTC().Truncate(time.Millisecond)}
	require.NoError(t, s.LinkBroker(ctx, link))
	require.NoError(t, s.ForgetBroker(ctx, "p"), "it is wanted, and stays")
	require.NoError(t, s.UnlinkBroker(ctx, "p"))
	require.True(t, fault.Is(s.UnlinkBroker(ctx, "p"), fault.NotFound))
	going := link
	going.Going = true
	links, err := s.BrokerLinks(ctx, "p")
	require.NoError(t, err)
	require.Equal(t, []domain.BrokerLink{going}, links)
	require.NoError(t, s.LinkBroker(ctx, link))
	links, err = s.BrokerLinks(ctx, "")
	require.NoError(t, err)
	require.Equal(t, []domain.BrokerLink{link}, links)
	require.NoError(t, s.UnlinkBroker(ctx, "p"))
	require.NoError(t, s.ForgetBroker(ctx, "p"))
	links, err = s.BrokerLinks(ctx, "")
	require.NoError(t, err)
	require.Empty(t, links)

	old, newer := id.New(), id.New()
	x := domain.EventTrigger{Workflow: "w", ID: "a", Types: []string{"x"}, Filter: []byte(`[{"exact":{"source":"s"}}]`)}
	require.NoError(t, s.SetTrigger(ctx, "p", app.Trigger{Workflow: "w", Deployment: newer, Outside: []domain.EventTrigger{x}}, settle))
	require.NoError(t, s.SetTrigger(ctx, "p", app.Trigger{Workflow: "w", Deployment: old, Outside: []domain.EventTrigger{{ID: "old"}}}, settle))
	require.NoError(t, s.SetTrigger(ctx, "p", app.Trigger{Workflow: "none", Deployment: old}, settle))
	got, err := s.EventTriggers(ctx, "p")
	require.NoError(t, err)
	require.Equal(t, []domain.EventTrigger{x}, got)
	require.NoError(t, s.RemoveTrigger(ctx, "p", newer, settle))
	got, err = s.EventTriggers(ctx, "p")
	require.NoError(t, err)
	require.Empty(t, got)
}
