package rabbitmq

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"mime"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/runner/internal/app"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
)

// consume consumes over one connection until that or ctx ends.
func (m *Manager) consume(ctx context.Context, t trigger) error {
	values, _, err := m.runs.SourceSettings(t.deployment.Project, t.spec)
	if err != nil {
		return err
	}
	s, err := read(values, t.place())
	if err != nil {
		return err
	}
	conn, err := amqp.DialConfig(s.URL, amqp.Config{Heartbeat: 10 * time.Second, Dial: amqp.DefaultDial(10 * time.Second), Properties: amqp.Table{"connection_name": "pelton " + t.place()}})
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	ch, err := conn.Channel()
	if err != nil {
		return err
	}
	if err := declare(ch, s); err != nil {
		return err
	}
	if err := ch.Qos(s.Prefetch, 0, false); err != nil {
		return err
	}
	var dead *amqp.Channel
	if s.DeadLetter != "" {
		if dead, err = deadChannel(conn, s.DeadLetter); err != nil {
			return err
		}
	}
	closed := ch.NotifyClose(make(chan *amqp.Error, 1))
	deliveries, err := ch.ConsumeWithContext(ctx, s.Queue, "pelton."+t.deployment.ID, false, false, false, false, nil)
	if err != nil {
		return fmt.Errorf("consume the queue %s: %w", s.Queue, err)
	}
	m.log.Info("a queue starts runs", "workflow", t.deployment.Definition.Workflow, "trigger", t.spec.ID, "queue", s.Queue)
	work, stop := context.WithCancel(ctx)
	c := consumer{m, t, s, dead, &sync.Mutex{}}
	var under sync.WaitGroup
	defer under.Wait()
	defer stop() // what is under way is delivered again: its acknowledgement is of a channel that is gone
	for d := range deliveries {
		under.Go(func() {
			if err := c.handle(work, &d); err != nil && work.Err() == nil {
				_ = conn.Close() // unacknowledged messages come again
			}
		})
	}
	if e := <-closed; e != nil {
		return e
	}
	return fmt.Errorf("the queue %s was deleted, or the broker ended the consumer", s.Queue)
}

// declare declares a queue of ours where it is bound to an exchange; one that is the user's stays as it is.
func declare(ch *amqp.Channel, s settings) error {
	if s.Exchange == "" {
		return nil
	}
	if _, err := ch.QueueDeclare(s.Queue, true, false, false, false, amqp.Table{amqp.QueueTypeArg: amqp.QueueTypeQuorum}); err != nil {
		return fmt.Errorf("declare the queue %s: %w", s.Queue, err)
	}
	for _, key := range s.Keys {
		if err := ch.QueueBind(s.Queue, key, s.Exchange, false, nil); err != nil {
			return fmt.Errorf("bind the queue %s to the exchange %s: %w", s.Queue, s.Exchange, err)
		}
	}
	return nil
}

// deadChannel declares the queue of what is given up, on a channel with confirms.
func deadChannel(conn *amqp.Connection, queue string) (*amqp.Channel, error) {
	ch, err := conn.Channel()
	if err == nil {
		_, err = ch.QueueDeclare(queue, true, false, false, false, amqp.Table{amqp.QueueTypeArg: amqp.QueueTypeQuorum})
	}
	if err == nil {
		err = ch.Confirm(false)
	}
	if err != nil {
		return nil, fmt.Errorf("declare the queue %s for what is given up: %w", queue, err)
	}
	return ch, nil
}

// consumer handles the messages of one connection.
type consumer struct {
	*Manager
	trigger
	settings
	dead *amqp.Channel
	mu   *sync.Mutex // of dead: one publish at a time awaits its confirm
}

// handle makes a run of a message. An error means that the message has to come again.
func (c consumer) handle(ctx context.Context, d *amqp.Delivery) error {
	event, err := eventOf(d, c.Queue)
	if err != nil {
		return c.giveUp(ctx, d, err.Error())
	}
	order := app.StartRun{Project: c.deployment.Project, DeploymentID: c.deployment.ID, Trigger: app.Trigger{Kind: Kind, ID: c.spec.ID}, Event: event, EventKey: d.MessageId}
	var run app.StartedRun
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		run, err = c.runs.StartRun(ctx, order)
		if err == nil || !later(err) {
			break
		}
		if !rest(ctx, wait) {
			return ctx.Err()
		}
	}
	if err != nil {
		return c.giveUp(ctx, d, err.Error())
	}
	if c.Ack != ackCompleted {
		return d.Ack(false)
	}
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		res, err := c.runs.Await(ctx, c.deployment.Project, run.ID)
		switch {
		case err == nil && res.State == domain.RunCompleted:
			return d.Ack(false)
		case err == nil:
			return c.giveUp(ctx, d, fmt.Sprintf("run %s %s", run.ID, res.State))
		case fault.Is(err, fault.NotFound): // it was deleted
			return d.Ack(false)
		}
		if !rest(ctx, wait) {
			return ctx.Err()
		}
	}
}

// later tells whether a start may work at another time.
func later(err error) bool {
	switch fault.KindOf(err) {
	case fault.Invalid, fault.Unprocessable, fault.NotFound, fault.Conflict, fault.TooLarge:
		return false
	default:
		return true
	}
}

// giveUp puts a message into the dead letter queue before it acknowledges it, or rejects it.
func (c consumer) giveUp(ctx context.Context, d *amqp.Delivery, why string) error {
	why = harmless(why)
	c.log.Warn("a message is given up", "workflow", c.deployment.Definition.Workflow, "trigger", c.spec.ID, "queue", c.Queue, "message", d.MessageId, "why", why)
	if c.dead == nil {
		return d.Reject(false)
	}
	headers := amqp.Table{}
	for k, v := range d.Headers {
		headers[k] = v
	}
	headers["x-pelton-reason"], headers["x-pelton-queue"], headers["x-pelton-routing-key"] = why, c.Queue, d.RoutingKey
	c.mu.Lock()
	confirm, err := c.dead.PublishWithDeferredConfirmWithContext(ctx, "", c.DeadLetter, true, false, amqp.Publishing{Headers: headers, ContentType: d.ContentType,
		ContentEncoding: d.ContentEncoding, DeliveryMode: amqp.Persistent, CorrelationId: d.CorrelationId, MessageId: d.MessageId, Timestamp: d.Timestamp, Type: d.Type, AppId: d.AppId, Body: d.Body})
	c.mu.Unlock()
	if err != nil {
		return err
	}
	if ok, err := confirm.WaitContext(ctx); err != nil || !ok {
		return fmt.Errorf("the queue %s did not take what was given up: %w", c.DeadLetter, err)
	}
	return d.Ack(false)
}

// eventOf is what expressions see of a message.
func eventOf(d *amqp.Delivery, queue string) (domain.Value, error) {
	e := map[string]any{"queue": queue, "exchange": d.Exchange, "routing_key": d.RoutingKey, "redelivered": d.Redelivered}
	for name, v := range map[string]string{"message_id": d.MessageId, "content_type": d.ContentType, "type": d.Type, "correlation_id": d.CorrelationId, "reply_to": d.ReplyTo} {
		if v != "" {
			e[name] = v
		}
	}
	if !d.Timestamp.IsZero() {
		e["timestamp"] = d.Timestamp.UTC().Format(time.RFC3339)
	}
	headers := map[string]any{}
	for k, v := range d.Headers {
		switch x := v.(type) {
		case string, bool, int8, int16, int32, int64, int, float32, float64, nil:
			headers[k] = x
		case []byte:
			headers[k] = string(x)
		}
	}
	e["headers"] = headers
	media, _, _ := mime.ParseMediaType(d.ContentType)
	isJSON := media == "application/json" || strings.HasSuffix(media, "+json")
	switch {
	case isJSON && !json.Valid(d.Body):
		return nil, fault.New(fault.Invalid, "the body is no JSON, as its content type says")
	case json.Valid(d.Body) && (isJSON || media == ""):
		e["body"] = json.RawMessage(d.Body)
	case utf8.Valid(d.Body):
		e["body"] = string(d.Body)
	default:
		e["body_base64"] = base64.StdEncoding.EncodeToString(d.Body)
	}
	return json.Marshal(e)
}
