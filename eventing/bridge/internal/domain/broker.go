package domain

import (
	"encoding/json"
	"time"
)

// BrokerLink is a project's wish to have a Broker, whose events its workflows take.
type BrokerLink struct {
	Project   string
	Sealed    []byte // the API key that the Broker's events come with
	CreatedAt time.Time
	Going     bool // nobody wants it any more
}

// EventTrigger is a workflow's trigger for events from outside.
type EventTrigger struct {
	Workflow string          `json:"-"`
	ID       string          `json:"id"`
	Types    []string        `json:"types,omitempty"` // patterns, none = all
	Filter   json.RawMessage `json:"filter,omitempty"`
}

// The states of what a cluster has for a project.
const (
	ObjectReady   = "ready"
	ObjectNot     = "not-ready"
	ObjectPending = "pending"
	ObjectMissing = "missing"
)

// BrokerState is how a project's Broker and its Trigger fare in the cluster.
type BrokerState struct {
	Namespace string
	Address   string // where events go to, "" = it has none yet
	Objects   []BrokerObject
}

// BrokerObject is an object of the cluster.
type BrokerObject struct {
	Kind, Name string
	State      string
	Reason     string // in words, "" = it is ready
}
