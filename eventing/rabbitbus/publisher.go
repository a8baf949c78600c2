package rabbitbus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/pelton-run/pelton/eventing/bus"
	"github.com/pelton-run/pelton/platform/kit/fault"
)

// maxBody is the largest body in bytes: a broker refuses 16 MiB by default, and closes the channel
// with everything else that is under way on it.
const maxBody = 15 << 20

// outgoing is a message on its way to an exchange.
type outgoing struct {
	bus.Message
	exchange, key string
	mandatory     bool // a queue has to take it
	done          func(error)
}

type outcome struct {
	outgoing
	err error
}

// publisher publishes over one channel with confirmations. When the channel ends, everything that was not
// confirmed is refused. When a message is refused, so is what waits here for one of the same queues, and what
// comes before the message's owner knows: so nothing overtakes, on its way to a queue, what the owner publishes again. Other
// queues go on: one that nobody has declared yet holds up itself alone.
type publisher struct {
	b     *Bus
	first chan error // how the first try to reach the broker ended

	mu       sync.Mutex
	down     error // why nothing can be published, nil when it can
	queue    []outgoing
	pending  map[uint64]outgoing // by the tag that the broker confirms
	returned map[string]bool     // ids of mandatory messages that no queue took, until they are confirmed
	ended    []outcome           // to be told
	untold   map[string]int      // refusals that their owners do not know of yet, by queue
	closed   bool

	wake    chan struct{} // queue has something
	telling chan struct{} // ended has something
}

func newPublisher(b *Bus) *publisher {
	return &publisher{b: b, first: make(chan error, 1), down: errors.New("not connected yet"), pending: map[uint64]outgoing{}, returned: map[string]bool{}, untold: map[string]int{},
		wake: make(chan struct{}, 1), telling: make(chan struct{}, 1)}
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (p *publisher) publish(o outgoing) {
	if len(o.Body) > maxBody {
		o.done(fault.New(fault.TooLarge, "bus: message %s of %d bytes: the broker takes %d", o.Key, len(o.Body), maxBody))
		return
	}
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		o.done(fault.Wrap(context.Canceled, fault.Unavailable, "bus: closed"))
		return
	}
	defer p.mu.Unlock()
	if p.down != nil || p.overtakes(o) {
		p.end(o, p.refusal())
		return
	}
	p.queue = append(p.queue, o)
	poke(p.wake)
}

// refusal is the error of what cannot be published. The caller holds mu.
func (p *publisher) refusal() error {
	if p.down == nil {
		return fault.New(fault.Unavailable, "bus: a message before it, to the same queue, was refused")
	}
	return fault.Wrap(p.down, fault.Unavailable, "bus: not connected to the broker")
}

// queues are those that keep the order of a message: of its consumers, where they are known.
func (p *publisher) queues(o outgoing) []string {
	if of := p.b.cfg.Expects[o.exchange][o.key]; len(of) > 0 {
		return of
	}
	return []string{o.exchange + "/" + o.key}
}

// overtakes tells whether a message would get past one that was refused without its owner's knowing. The
// caller holds mu.
func (p *publisher) overtakes(o outgoing) bool {
	return slices.ContainsFunc(p.queues(o), func(q string) bool { return p.untold[q] > 0 })
}

// end has done told, and refuses what waits behind a message that was refused. The caller holds mu.
func (p *publisher) end(o outgoing, err error) {
	p.tellSoon(o, err)
	if err == nil {
		return
	}
	waiting := p.queue[:0]
	for _, o := range p.queue {
		if p.overtakes(o) {
			p.tellSoon(o, p.refusal())
		} else {
			waiting = append(waiting, o)
		}
	}
	clear(p.queue[len(waiting):])
	p.queue = waiting
}

// tellSoon has done told. The caller holds mu.
func (p *publisher) tellSoon(o outgoing, err error) {
	p.ended = append(p.ended, outcome{o, err})
	if err != nil {
		for _, q := range p.queues(o) {
			p.untold[q]++
		}
	}
	poke(p.telling)
}

// told notes that an owner knows of a refusal.
func (p *publisher) told(o outgoing) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, q := range p.queues(o) {
		if p.untold[q]--; p.untold[q] == 0 {
			delete(p.untold, q)
		}
	}
}

// tell calls what Publish was given, so that a slow callback holds up no other and no confirmation.
func (p *publisher) tell() {
	for range p.telling {
		p.mu.Lock()
		ended, closed := p.ended, p.closed
		p.ended = nil
		p.mu.Unlock()
		for _, o := range ended {
			if o.done(o.err); o.err != nil {
				p.told(o.outgoing)
			}
		}
		if closed && len(ended) == 0 {
			return
		}
		if closed {
			poke(p.telling)
		}
	}
}

func (p *publisher) ready() error {
	if held := p.b.out.held(); held != "" {
		return errors.New(held)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.down
}

// run keeps a channel until the bus is closed.
func (p *publisher) run() {
	var wait backoff
	for p.b.ctx.Err() == nil {
		s, err := p.open()
		report(p.first, err)
		if err == nil {
			wait.reset()
			err = s.work()
			_ = s.ch.Close()
			<-s.received
		}
		if last := p.refuse(err); p.b.ctx.Err() == nil && (last == nil || err.Error() != last.Error()) {
			p.b.log.Warn("bus: not publishing", "err", err)
		}
		if !wait.next(p.b.ctx) {
			break
		}
	}
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	poke(p.telling)
}

// report tells the first outcome to whoever waits for it.
func report(first chan error, err error) {
	select {
	case first <- err:
	default:
	}
}

// refuse ends everything that is not confirmed, and gives why nothing could be published before.
func (p *publisher) refuse(err error) (last error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	last, p.down = p.down, err
	refusal := p.refusal()
	for _, o := range p.pending {
		p.tellSoon(o, refusal)
	}
	for _, o := range p.queue {
		p.tellSoon(o, refusal)
	}
	clear(p.pending)
	clear(p.returned)
	p.queue = nil
	return last
}

// session is one life of the channel.
type session struct {
	p        *publisher
	conn     *amqp.Connection
	ch       *amqp.Channel
	returns  chan amqp.Return
	confirms chan amqp.Confirmation
	closed   chan *amqp.Error
	received chan struct{}        // receive has ended
	declared map[string]bool      // exchanges
	known    map[string]bool      // queues that were declared
	missing  map[string]time.Time // queues that were not, and when that was asked
}

func (p *publisher) open() (*session, error) {
	conn, err := p.b.out.get()
	if err != nil {
		return nil, err
	}
	s := &session{p: p, conn: conn, declared: map[string]bool{}, known: map[string]bool{}, missing: map[string]time.Time{}, received: make(chan struct{})}
	for _, exchange := range p.b.cfg.Emits {
		if err := s.declare(exchange); err != nil {
			return nil, err
		}
	}
	if s.ch, err = conn.Channel(); err != nil {
		return nil, err
	}
	// Without buffers: a return is then taken before the confirmation behind it.
	s.returns, s.confirms = s.ch.NotifyReturn(make(chan amqp.Return)), s.ch.NotifyPublish(make(chan amqp.Confirmation))
	s.closed = s.ch.NotifyClose(make(chan *amqp.Error, 1))
	go s.receive()
	if err := s.ch.Confirm(false); err != nil {
		_ = s.ch.Close()
		<-s.received
		return nil, err
	}
	p.mu.Lock()
	p.down = nil
	p.mu.Unlock()
	return s, nil
}

// work sends what is queued until the channel ends.
func (s *session) work() error {
	for {
		select {
		case <-s.p.b.ctx.Done():
			return s.p.b.ctx.Err()
		case err := <-s.closed:
			if err == nil {
				return errors.New("the channel was closed")
			}
			return err
		case <-s.p.wake:
		}
		for {
			s.p.mu.Lock()
			if len(s.p.queue) == 0 {
				s.p.mu.Unlock()
				break
			}
			o := s.p.queue[0]
			s.p.queue = s.p.queue[1:]
			s.p.mu.Unlock()
			if err := s.send(o); err != nil {
				return err
			}
		}
	}
}

// send publishes one message. An error ends the session.
func (s *session) send(o outgoing) error {
	queues := s.p.b.cfg.Expects[o.exchange][o.key]
	if err := s.await(queues); err != nil {
		s.p.mu.Lock()
		s.p.end(o, err)
		s.p.mu.Unlock()
		return nil
	}
	if err := s.declare(o.exchange); err != nil {
		s.p.mu.Lock()
		s.p.end(o, err)
		s.p.mu.Unlock()
		return err
	}
	o.mandatory = o.mandatory || len(queues) > 0
	s.p.mu.Lock()
	tag := s.ch.GetNextPublishSeqNo()
	s.p.pending[tag] = o
	s.p.mu.Unlock()
	return s.ch.PublishWithContext(s.p.b.ctx, o.exchange, o.key, o.mandatory, false, encode(o.Message))
}

// declare declares an exchange of ours, once a session, on a channel of its own: a refusal closes it.
func (s *session) declare(exchange string) error {
	if exchange == "" || s.declared[exchange] {
		return nil
	}
	ch, err := s.conn.Channel()
	if err != nil {
		return err
	}
	defer ch.Close()
	if err := ch.ExchangeDeclare(exchange, amqp.ExchangeTopic, true, false, false, false, nil); err != nil {
		return mismatch(err, "the exchange "+exchange)
	}
	s.declared[exchange] = true
	return nil
}

// await refuses while one of the queues was never declared. Their consumers declare the queue of
// dead letters last, so where it is, the queue is there and bound.
func (s *session) await(queues []string) error {
	for _, q := range queues {
		if s.known[q] {
			continue
		}
		if time.Since(s.missing[q]) > time.Second {
			ch, err := s.conn.Channel()
			if err != nil {
				return fault.Wrap(err, fault.Unavailable, "bus: look for queue %s", q)
			}
			_, err = ch.QueueDeclarePassive(deadQueue(q), true, false, false, false, nil)
			_ = ch.Close()
			switch {
			case err == nil:
				s.known[q] = true
				continue
			case !isMissing(err):
				return fault.Wrap(err, fault.Unavailable, "bus: look for queue %s", q)
			}
			s.missing[q] = time.Now()
		}
		return fault.New(fault.Unavailable, "bus: queue %s was never declared: the message is kept until its consumer was started", q)
	}
	return nil
}

func returnKey(exchange, key, id string) string { return exchange + "\n" + key + "\n" + id }

// receive takes what the broker answers until the channel has ended.
func (s *session) receive() {
	defer close(s.received)
	for s.returns != nil || s.confirms != nil {
		select {
		case r, ok := <-s.returns:
			if !ok {
				s.returns = nil
				continue
			}
			s.p.mu.Lock()
			s.p.returned[returnKey(r.Exchange, r.RoutingKey, r.MessageId)] = true
			s.p.mu.Unlock()
		case c, ok := <-s.confirms:
			if !ok {
				s.confirms = nil
				continue
			}
			s.p.confirm(c)
		}
	}
}

func (p *publisher) confirm(c amqp.Confirmation) {
	p.mu.Lock()
	defer p.mu.Unlock()
	o, ok := p.pending[c.DeliveryTag]
	if !ok {
		return
	}
	delete(p.pending, c.DeliveryTag)
	var err error
	switch key := returnKey(o.exchange, o.key, o.ID); {
	case !c.Ack:
		err = fault.New(fault.Unavailable, "bus: the broker could not keep message %s", o.Key)
	case o.mandatory && p.returned[key]:
		delete(p.returned, key)
		err = fault.New(fault.Unavailable, "bus: no queue is bound to %s of exchange %s", o.key, o.exchange)
	}
	p.end(o, err)
}

// hand publishes to a queue directly and waits until the broker has it; it tries again until ctx ends.
func (p *publisher) hand(ctx context.Context, queue string, m bus.Message) error {
	var wait backoff
	for {
		done := make(chan error, 1)
		p.publish(outgoing{Message: m, key: queue, mandatory: true, done: func(err error) { done <- err }})
		select {
		case err := <-done:
			if err == nil {
				return nil
			}
			p.b.log.Warn("bus: hand over again", "queue", queue, "id", m.ID, "err", err)
			if !wait.next(ctx) {
				return fmt.Errorf("%w (last: %w)", ctx.Err(), err)
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
