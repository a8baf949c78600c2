package rabbitbus

import (
	"context"
	"errors"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/pelton-run/pelton/eventing/bus"
	"github.com/pelton-run/pelton/platform/kit/fault"
)

// Dead implements bus.DeadLetters.
func (b *Bus) Dead(_ context.Context, queue string) (dead []bus.Dead, err error) {
	return dead, b.eachDead(queue, func(d *amqp.Delivery) (bool, error) {
		dead = append(dead, decodeDead(queue, d))
		return false, nil
	})
}

// Replay implements bus.DeadLetters. It may end between the hand-over and the removal: the message
// is then still a dead letter, and its consumer knows it when it comes again.
func (b *Bus) Replay(ctx context.Context, queue, messageID string) error {
	return b.takeDead(queue, messageID, func(d *amqp.Delivery) error {
		ctx, cancel := context.WithTimeout(ctx, 2*patience)
		defer cancel()
		return b.pub.hand(ctx, queue, decode(d))
	})
}

// Drop implements bus.DeadLetters.
func (b *Bus) Drop(_ context.Context, queue, messageID string) error {
	return b.takeDead(queue, messageID, func(*amqp.Delivery) error { return nil })
}

// takeDead removes a message after f; copies of it, which a consumer leaves when it is interrupted
// as it gives one up, go with it.
func (b *Bus) takeDead(queue, messageID string, f func(*amqp.Delivery) error) error {
	found := false
	err := b.eachDead(queue, func(d *amqp.Delivery) (bool, error) {
		if decode(d).ID != messageID {
			return false, nil
		}
		if !found {
			if err := f(d); err != nil {
				return false, err
			}
		}
		found = true
		return true, nil
	})
	if err == nil && !found {
		return fault.New(fault.NotFound, "queue %s gave up no message %s: see `peltond bus dead list`", queue, messageID)
	}
	return err
}

// eachDead calls f with every dead letter of a queue; those that f says are taken are removed, also
// when it fails later on. The others stay where they are.
func (b *Bus) eachDead(queue string, f func(*amqp.Delivery) (taken bool, err error)) error {
	conn, err := b.in.get()
	if err != nil {
		return err
	}
	ch, err := conn.Channel()
	if err != nil {
		return err
	}
	defer ch.Close()
	count := func() (int, error) {
		state, err := ch.QueueDeclarePassive(deadQueue(queue), true, false, false, false, nil)
		return state.Messages, err
	}
	n, err := count()
	if isMissing(err) {
		return nil
	}
	var kept []amqp.Delivery
	for err == nil && len(kept) < n {
		d, ok, failed := ch.Get(deadQueue(queue), false)
		if err = failed; err != nil || !ok {
			break
		}
		var taken bool
		if taken, err = f(&d); !taken {
			kept = append(kept, d)
		} else if failed := d.Ack(false); failed != nil {
			return errors.Join(err, failed)
		} else {
			n--
		}
	}
	for i := range kept {
		if failed := kept[i].Nack(false, true); failed != nil {
			return errors.Join(err, failed)
		}
	}
	// The broker puts them back in its own time; who looks again would miss them.
	for end := time.Now().Add(patience); len(kept) > 0 && time.Now().Before(end); {
		if n, failed := count(); failed != nil || n >= len(kept) || !bus.Wait(b.ctx, 5*time.Millisecond) {
			return errors.Join(err, failed)
		}
	}
	return err
}
