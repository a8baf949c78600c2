package rabbitbus

import (
	"strconv"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/pelton-run/pelton/eventing/bus"
)

// A message is a CloudEvent in binary mode: its attributes are headers with this prefix, as the
// AMQP binding of CloudEvents 1.0 names them, its data is the body.
const ce = "cloudEvents:"

// Headers of a dead letter.
const (
	reasonHeader = "pelton-reason"
	triesHeader  = "pelton-tries"
	diedHeader   = "pelton-died-at"
)

func encode(m bus.Message) amqp.Publishing {
	h := amqp.Table{}
	for k, v := range m.Headers {
		h[k] = v
	}
	service, _, _ := strings.Cut(m.Exchange, ".")
	h[ce+"specversion"] = "1.0"
	h[ce+"id"] = m.ID
	h[ce+"type"] = m.Exchange + "." + m.Key
	h[ce+"source"] = "/" + service
	h[ce+"time"] = m.At.UTC().Format(time.RFC3339Nano)
	return amqp.Publishing{
		Headers: h, ContentType: "application/protobuf", DeliveryMode: amqp.Persistent,
		MessageId: m.ID, Timestamp: m.At, Type: m.Exchange + "." + m.Key, Body: m.Body,
	}
}

// decode reads a delivery. Exchange and key are the attribute's: a message that was handed over
// again comes by the default exchange.
func decode(d *amqp.Delivery) bus.Message {
	m := bus.Message{ID: d.MessageId, Exchange: d.Exchange, Key: d.RoutingKey, Body: d.Body, At: d.Timestamp}
	if typ := text(d.Headers, ce+"type"); typ != "" {
		if i := strings.LastIndexByte(typ, '.'); i > 0 {
			m.Exchange, m.Key = typ[:i], typ[i+1:]
		}
	}
	if id := text(d.Headers, ce+"id"); id != "" {
		m.ID = id
	}
	if at, err := time.Parse(time.RFC3339Nano, text(d.Headers, ce+"time")); err == nil {
		m.At = at
	}
	for k, v := range d.Headers {
		s, ok := v.(string)
		if !ok || strings.HasPrefix(k, ce) || strings.HasPrefix(k, "x-") || k == reasonHeader || k == triesHeader || k == diedHeader {
			continue
		}
		if m.Headers == nil {
			m.Headers = map[string]string{}
		}
		m.Headers[k] = s
	}
	return m
}

func text(t amqp.Table, key string) string {
	s, _ := t[key].(string)
	return s
}

func encodeDead(d *bus.Dead) bus.Message {
	m := d.Message
	m.Headers = map[string]string{reasonHeader: d.Reason, triesHeader: strconv.Itoa(d.Tries), diedHeader: d.DiedAt.UTC().Format(time.RFC3339Nano)}
	for k, v := range d.Headers {
		m.Headers[k] = v
	}
	return m
}

// decodeDead reads a dead letter, of a consumer or, with x-death alone, of the broker.
func decodeDead(queue string, d *amqp.Delivery) bus.Dead {
	dead := bus.Dead{Message: decode(d), Queue: queue, Reason: text(d.Headers, reasonHeader)}
	dead.Tries, _ = strconv.Atoi(text(d.Headers, triesHeader))
	dead.DiedAt, _ = time.Parse(time.RFC3339Nano, text(d.Headers, diedHeader))
	deaths, _ := d.Headers["x-death"].([]any)
	if dead.Reason != "" || len(deaths) == 0 {
		return dead
	}
	if death, ok := deaths[0].(amqp.Table); ok {
		dead.Reason = "given up by the broker: " + text(death, "reason")
		if text(death, "reason") == "delivery_limit" {
			dead.Reason = "its consumer ended or lost its connection each of the " + strconv.Itoa(deliveryLimit+1) + " times that it was delivered"
		}
		dead.DiedAt, _ = death["time"].(time.Time)
	}
	return dead
}
