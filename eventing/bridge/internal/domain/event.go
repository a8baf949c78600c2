// Package domain holds what the bridge knows: platform events as CloudEvents, subscriptions to them, and how
// often a delivery is tried.
package domain

import (
	"encoding/json"
	"time"
)

// The types of platform events. A change that a reader would not understand makes a new version beside the old one.
const (
	RunStarted       = "io.pelton.run.started.v1"
	RunCompleted     = "io.pelton.run.completed.v1"
	RunFailed        = "io.pelton.run.failed.v1"
	RunCancelled     = "io.pelton.run.cancelled.v1"
	StepFailed       = "io.pelton.step.failed.v1"
	WorkflowDeployed = "io.pelton.workflow.deployed.v1"
	DeploymentFailed = "io.pelton.workflow.deployment-failed.v1"
	WorkflowStopped  = "io.pelton.workflow.stopped.v1"
	ActionBuilt      = "io.pelton.action.built.v1"
	BuildFailed      = "io.pelton.action.build-failed.v1"
)

// Types are all of them with what they tell, in the order of the documentation.
var Types = []struct{ Name, Title string }{
	{RunStarted, "A run is durable and under way."},
	{RunCompleted, "A run has completed; its result is in the data, or left out where it is larger than 64 KiB."},
	{RunFailed, "A run has failed."},
	{RunCancelled, "A run was cancelled, or was not let in."},
	{StepFailed, "A step has failed for good, after all its attempts; caught: the run goes on all the same."},
	{WorkflowDeployed, "A revision of a workflow is live."},
	{DeploymentFailed, "A revision of a workflow could not be made live."},
	{WorkflowStopped, "A deployment has ended: it was undeployed, or superseded."},
	{ActionBuilt, "A build of an action is in the library."},
	{BuildFailed, "A build of an action failed."},
}

// Event is a CloudEvent 1.0 of the platform.
type Event struct {
	ID          string // of the message that it was made of: the same however often that is delivered
	Type        string
	Project     string
	Source      string // URI reference: what it happened to, /projects/<project>/workflows/<name>
	Subject     string // the run, the deployment, the build
	Workflow    string // "" = it is about none
	Time        time.Time
	Traceparent string // of the W3C's Trace Context, "" = unknown
	Data        any    // a JSON object
}

// Order is what events keep their order by: those of one run follow one another.
func (e Event) Order() string { return e.Source + "\n" + e.Subject }

// JSON is the event in the JSON format of CloudEvents 1.0. schemas is the URL under which the schemas of data
// lie, without a slash at the end.
func (e Event) JSON(schemas string) ([]byte, error) {
	return json.Marshal(struct {
		SpecVersion string `json:"specversion"`
		ID          string `json:"id"`
		Source      string `json:"source"`
		Type        string `json:"type"`
		Subject     string `json:"subject,omitempty"`
		Time        string `json:"time"`
		ContentType string `json:"datacontenttype"`
		Schema      string `json:"dataschema,omitempty"`
		Project     string `json:"project"`
		Workflow    string `json:"workflow,omitempty"`
		Partition   string `json:"partitionkey,omitempty"`
		Traceparent string `json:"traceparent,omitempty"`
		Data        any    `json:"data"`
	}{"1.0", e.ID, e.Source, e.Type, e.Subject, e.Time.UTC().Format(time.RFC3339Nano), "application/json", SchemaURL(schemas, e.Type), e.Project, e.Workflow,
		e.Subject, e.Traceparent, e.Data})
}

// SchemaURL is where the JSON Schema of a type's data lies.
func SchemaURL(schemas, eventType string) string { return schemas + "/" + eventType + ".json" }
