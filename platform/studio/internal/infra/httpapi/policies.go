package httpapi

import (
	"encoding/json"

	"github.com/pelton-run/pelton/functions/formats/workflow"
)

// policiesJSON is what holds for the runs of a workflow.
type policiesJSON struct {
	TimeoutMS      int64           `json:"timeout_ms,omitempty"`
	Priority       int             `json:"priority,omitempty"`
	IdempotencyKey json.RawMessage `json:"idempotency_key,omitempty"`
	Concurrency    *limitJSON      `json:"concurrency,omitempty"`
	RateLimit      *rateJSON       `json:"rate_limit,omitempty"`
	OnFailure      string          `json:"on_failure,omitempty"`
	Durability     string          `json:"durability,omitempty"`
}

// boundsJSON is how often, how long and in which order a step runs.
type boundsJSON struct {
	TimeoutMS     int64      `json:"timeout_ms,omitempty"`
	StepTimeoutMS int64      `json:"step_timeout_ms,omitempty"`
	Retry         *retryJSON `json:"retry,omitempty"`
	Cache         *cacheJSON `json:"cache,omitempty"`
	Concurrency   *limitJSON `json:"concurrency,omitempty"`
	Priority      *int       `json:"priority,omitempty"`
}

type limitJSON struct {
	Key    json.RawMessage `json:"key,omitempty"`
	Limit  int             `json:"limit"`
	Policy string          `json:"policy,omitempty"`
}

type rateJSON struct {
	Key   json.RawMessage `json:"key,omitempty"`
	Count int             `json:"count"`
	PerMS int64           `json:"per_ms"`
	Burst int             `json:"burst,omitempty"`
}

type retryJSON struct {
	Attempts  int      `json:"attempts"`
	BackoffMS int64    `json:"backoff_ms,omitempty"`
	Factor    float64  `json:"factor,omitempty"`
	CapMS     int64    `json:"cap_ms,omitempty"`
	Jitter    bool     `json:"jitter,omitempty"`
	On        []string `json:"on"`
}

type cacheJSON struct {
	Key   json.RawMessage `json:"key"`
	TTLMS int64           `json:"ttl_ms"`
}

// policiesOf is nil for a workflow that says nothing of the kind.
func policiesOf(w workflow.Workflow) *policiesJSON {
	p := policiesJSON{TimeoutMS: w.Timeout.Milliseconds(), Priority: w.Priority, IdempotencyKey: rawOf(w.IdempotencyKey), Concurrency: limitOf(w.Concurrency),
		OnFailure: w.OnFailure, Durability: w.Durability}
	if r := w.RateLimit; r != nil {
		p.RateLimit = &rateJSON{rawOf(r.Key), r.Count, r.Per.Milliseconds(), r.Burst}
	}
	if p.TimeoutMS == 0 && p.Priority == 0 && p.IdempotencyKey == nil && p.Concurrency == nil && p.RateLimit == nil && p.OnFailure == "" && p.Durability == "" {
		return nil
	}
	if l := p.Concurrency; l != nil && l.Policy == "" {
		l.Policy = "queue"
	}
	return &p
}

func boundsOf(s workflow.Step) boundsJSON {
	b := boundsJSON{TimeoutMS: s.Timeout.Milliseconds(), StepTimeoutMS: s.StepTimeout.Milliseconds(), Concurrency: limitOf(s.Concurrency), Priority: s.Priority}
	if r := s.Retry; r != nil {
		b.Retry = &retryJSON{r.Attempts, r.Backoff.Milliseconds(), r.Factor, r.Cap.Milliseconds(), r.Jitter, listOf(r.On)}
	}
	if c := s.Cache; c != nil {
		b.Cache = &cacheJSON{rawOf(c.Key), c.TTL.Milliseconds()}
	}
	return b
}

func limitOf(l *workflow.Limit) *limitJSON {
	if l == nil {
		return nil
	}
	return &limitJSON{rawOf(l.Key), l.Limit, l.Policy}
}
