package app

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/eventing/bridge/internal/domain"
	"github.com/pelton-run/pelton/platform/kit/fault"
)

// cluster is Brokers that note what is asked of them.
type cluster struct {
	asked   []string
	broken  string // a project whose objects cannot be applied
	address error
}

func (c *cluster) Apply(_ context.Context, project, key string, triggers []domain.EventTrigger) error {
	c.asked = append(c.asked, fmt.Sprint("apply ", project, " ", key, " ", len(triggers)))
	if project == c.broken {
		return fault.New(fault.Unprocessable, "the cluster refuses it")
	}
	return nil
}

func (c *cluster) State(context.Context, string) (domain.BrokerState, error) {
	return domain.BrokerState{Namespace: "n"}, nil
}

func (c *cluster) Address(context.Context, string) (string, error) {
	return "http://broker/n/events", c.address
}

func (c *cluster) Remove(_ context.Context, project string) error {
	c.asked = append(c.asked, "remove "+project)
	if project == c.broken {
		return fault.New(fault.Unavailable, "away")
	}
	return nil
}

// links is a BrokerStore in memory.
type links map[string]domain.BrokerLink

func (l links) LinkBroker(_ context.Context, x domain.BrokerLink) error {
	l[x.Project] = x
	return nil
}

func (l links) UnlinkBroker(_ context.Context, project string) error {
	x, ok := l[project]
	if !ok {
		return fault.New(fault.NotFound, "none")
	}
	x.Going = true
	l[project] = x
	return nil
}

func (l links) ForgetBroker(_ context.Context, project string) error {
	delete(l, project)
	return nil
}

func (l links) BrokerLinks(_ context.Context, project string) (out []domain.BrokerLink, err error) {
	for _, name := range []string{"a", "b", "c"} {
		if x, ok := l[name]; ok && (project == "" || project == name) {
			out = append(out, x)
		}
	}
	return out, nil
}

func (l links) EventTriggers(_ context.Context, project string) ([]domain.EventTrigger, error) {
	return make([]domain.EventTrigger, len(project)), nil
}

// plain seals nothing.
type plain struct{}

func (plain) Seal(text []byte, about string) ([]byte, error) {
	return []byte(about + "|" + string(text)), nil
}

func (plain) Open(sealed []byte, about string) ([]byte, error) {
	if len(sealed) <= len(about) || string(sealed[:len(about)]) != about {
		return nil, fault.New(fault.Internal, "of something else")
	}
	return sealed[len(about)+1:], nil
}

// TestKeepBrokers: every project has what it wants though another's is in trouble; what nobody wants is forgotten only once
// it is gone.
func TestKeepBrokers(t *testing.T) {
	ctx := t.Context()
	c, l := &cluster{}, links{}
	s := New(Service{Brokers: c, BrokerStore: l, Cipher: plain{}, Now: time.Now, Log: slog.New(slog.DiscardHandler)})
	for _, p := range []string{"a", "b", "c"} {
		require.NoError(t, s.ConnectBroker(ctx, p, "pk_"+p))
	}
	c.broken = "a"
	require.ErrorContains(t, s.keepBrokers(ctx), "project a: the cluster refuses it")
	require.Equal(t, []string{"apply a pk_a 1", "apply b pk_b 1", "apply c pk_c 1"}, c.asked)

	require.NoError(t, s.DisconnectBroker(ctx, "a"))
	require.NoError(t, s.DisconnectBroker(ctx, "b"))
	_, err := s.Broker(ctx, "a")
	require.ErrorContains(t, err, "project a has no Broker")
	c.asked = nil
	require.ErrorContains(t, s.keepBrokers(ctx), "project a: away")
	require.Equal(t, []string{"remove a", "remove b", "apply c pk_c 1"}, c.asked)
	require.Contains(t, l, "a", "it is tried again")
	require.NotContains(t, l, "b")

	c.broken, c.asked = "", nil
	l["c"] = domain.BrokerLink{Project: "c", Sealed: l["a"].Sealed}
	require.ErrorContains(t, s.keepBrokers(ctx), "the Broker's key cannot be opened: connect it anew")
	require.Equal(t, []string{"remove a"}, c.asked)
}

// http notes where an event is sent.
type http struct {
	to      string
	outcome Outcome
}

func (h *http) Send(_ context.Context, s domain.Sink, _ []byte, _ domain.Delivery) Outcome {
	h.to = s.URL
	return h.outcome
}

// TestBrokerSender: the project's Broker first, then the sink for all; a Broker in trouble is waited for.
func TestBrokerSender(t *testing.T) {
	none, trouble := fault.New(fault.NotFound, "project p has no Broker"), fault.New(fault.Unavailable, "it has no address yet")
	for name, c := range map[string]struct {
		brokers Brokers
		sink    string
		to      string
		problem string
	}{
		"its own":             {&cluster{}, "http://sink", "http://broker/n/events", ""},
		"none, and a sink":    {&cluster{address: none}, "http://sink", "http://sink", ""},
		"trouble, and a sink": {&cluster{address: trouble}, "http://sink", "", "it has no address yet"},
		"none, and no sink":   {&cluster{address: none}, "", "", "project p has no Broker"},
		"only a sink":         {nil, "http://sink", "http://sink", ""},
		"nothing":             {nil, "", "", "there is no Broker: set bridge.broker or bridge.sink, or give the platform K_SINK"},
	} {
		t.Run(name, func(t *testing.T) {
			h := &http{outcome: Outcome{Gone: true}}
			o := BrokerSender{Brokers: c.brokers, Sink: c.sink, HTTP: h}.Send(t.Context(), domain.Sink{Kind: domain.SinkBroker}, nil, domain.Delivery{Project: "p"})
			require.Equal(t, c.to, h.to)
			require.Equal(t, c.problem, o.Problem)
			require.False(t, o.Gone)
		})
	}
}
