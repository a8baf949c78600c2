package rabbitbus

import (
	"context"
	"errors"
	"net"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/pelton-run/pelton/platform/kit/fault"
)

const (
	dialTimeout = 10 * time.Second
	heartbeat   = 5 * time.Second // a peer that is silent for about three of them is gone
	pause       = 100 * time.Millisecond
)

// address is where the broker is and how to sign in.
type address struct {
	url         url.URL
	credentials string // file of USER:PASSWORD, or empty
}

func parseAddress(text string) (address, error) {
	u, err := url.Parse(text)
	remedy := "give amqp:// or amqps://USER:PASSWORD@HOST:PORT/VHOST"
	if err != nil || (u.Scheme != "amqp" && u.Scheme != "amqps") || u.Host == "" {
		return address{}, fault.InvalidField("bus", "is no AMQP URL", remedy)
	}
	q := u.Query()
	a := address{credentials: q.Get("credentials_file")}
	q.Del("credentials_file")
	u.RawQuery = q.Encode()
	a.url = *u
	if _, err := amqp.ParseURI(u.String()); err != nil {
		return address{}, fault.InvalidField("bus", "is no AMQP URL: "+err.Error(), remedy)
	}
	if a.credentials != "" {
		_, err = a.current()
	}
	return a, err
}

// current is the URL with the credentials of now.
func (a address) current() (string, error) {
	u := a.url
	if a.credentials != "" {
		data, err := os.ReadFile(a.credentials)
		if err != nil {
			return "", fault.Wrap(err, fault.Invalid, "bus: credentials_file cannot be read: name a file that holds USER:PASSWORD")
		}
		user, password, ok := strings.Cut(strings.TrimSpace(string(data)), ":")
		if !ok {
			return "", fault.InvalidField("bus", "credentials_file "+a.credentials+" does not hold USER:PASSWORD", "write them on one line")
		}
		u.User = url.UserPassword(user, password)
	}
	return u.String(), nil
}

// link is one connection, made anew when it is asked for and the last one has ended.
type link struct {
	address address
	name    string
	ctx     context.Context // ends dials

	mu      sync.Mutex
	conn    *amqp.Connection
	blocked string // why the broker takes no messages, empty when it does
	err     error  // of the last dial
	at      time.Time
	closed  bool
}

// get gives the connection. Callers that ask again at once get the last dial's error.
func (l *link) get() (*amqp.Connection, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, context.Canceled
	}
	if l.conn != nil && !l.conn.IsClosed() {
		return l.conn, nil
	}
	if l.err != nil && time.Since(l.at) < pause {
		return nil, l.err
	}
	l.conn, l.err = l.dial()
	l.at = time.Now()
	return l.conn, l.err
}

func (l *link) dial() (*amqp.Connection, error) {
	to, err := l.address.current()
	if err != nil {
		return nil, err
	}
	properties := amqp.NewConnectionProperties()
	properties.SetClientConnectionName(l.name)
	conn, err := amqp.DialConfig(to, amqp.Config{Heartbeat: heartbeat, Properties: properties, Dial: func(network, addr string) (net.Conn, error) {
		c, err := (&net.Dialer{Timeout: dialTimeout}).DialContext(l.ctx, network, addr)
		if err != nil {
			return nil, err
		}
		// Until the handshake is over; the library then sets its own.
		return c, errors.Join(c.SetDeadline(time.Now().Add(dialTimeout)))
	}})
	if err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "bus: the broker at %s cannot be used", l.address.url.Host)
	}
	l.blocked = ""
	blocks := conn.NotifyBlocked(make(chan amqp.Blocking, 1))
	go func() { // ends with the connection
		for b := range blocks {
			l.mu.Lock()
			if l.blocked = ""; b.Active {
				l.blocked = "the broker takes no messages: " + b.Reason
			}
			l.mu.Unlock()
		}
	}()
	return conn, nil
}

func (l *link) held() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn == nil || l.conn.IsClosed() {
		return ""
	}
	return l.blocked
}

func (l *link) close() {
	l.mu.Lock()
	conn := l.conn
	l.closed = true
	l.mu.Unlock()
	if conn != nil {
		_ = conn.CloseDeadline(time.Now().Add(2 * time.Second))
	}
}
