// Package webhook hands events to HTTP endpoints: signed, as the Standard Webhooks specification 1.0 says
// (https://www.standardwebhooks.com), or as plain CloudEvents in binary mode, as Knative Brokers take them.
package webhook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/binding/format"
	"github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"

	"github.com/pelton-run/pelton/eventing/bridge/internal/app"
	"github.com/pelton-run/pelton/eventing/bridge/internal/domain"
)

// Config of New.
type Config struct {
	// Private allows addresses of this machine and of private networks.
	Private bool
	Version string // of the platform, for User-Agent
	Now     func() time.Time
}

// Sender implements app.Sender. Safe for concurrent use.
type Sender struct {
	client *http.Client
	agent  string
	now    func() time.Time
	encode func(context.Context, domain.Sink, []byte, domain.Delivery, time.Time) (*http.Request, error)
}

var _ app.Sender = (*Sender)(nil)

// New makes the senders by kind of sink.
func New(cfg Config) map[string]app.Sender {
	dialer := &net.Dialer{Timeout: 10 * time.Second, Control: app.Reachable(cfg.Private)}
	client := &http.Client{
		Transport: &http.Transport{DialContext: dialer.DialContext, MaxIdleConnsPerHost: 8, IdleConnTimeout: 30 * time.Second, TLSHandshakeTimeout: 10 * time.Second, ForceAttemptHTTP2: true},
		// What was signed for one place is not carried to another.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	agent := "Pelton/" + cfg.Version
	return map[string]app.Sender{
		domain.SinkWebhook:     &Sender{client, agent, cfg.Now, signed},
		domain.SinkCloudEvents: &Sender{client, agent, cfg.Now, binary},
	}
}

// signed is a webhook: the event in structured mode, with webhook-id, webhook-timestamp and webhook-signature.
func signed(ctx context.Context, s domain.Sink, secret []byte, d domain.Delivery, now time.Time) (*http.Request, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL, bytes.NewReader(d.Event))
	if err != nil {
		return nil, err
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(string(secret), "whsec_"))
	if err != nil {
		return nil, errors.New("the secret cannot be read")
	}
	at := strconv.FormatInt(now.Unix(), 10)
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%s.%s", d.EventID, at, d.Event)
	r.Header.Set("Content-Type", format.JSON.MediaType()+"; charset=utf-8")
	r.Header.Set("Webhook-Id", d.EventID)
	r.Header.Set("Webhook-Timestamp", at)
	r.Header.Set("Webhook-Signature", "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	return r, nil
}

// binary is a plain CloudEvent.
func binary(ctx context.Context, s domain.Sink, _ []byte, d domain.Delivery, _ time.Time) (*http.Request, error) {
	var e event.Event
	if err := format.JSON.Unmarshal(d.Event, &e); err != nil {
		return nil, err
	}
	return cehttp.NewHTTPRequestFromEvent(ctx, s.URL, e)
}

// maxAnswer is how much of an answer is read, in bytes.
const maxAnswer = 4 << 10

// Send implements app.Sender.
func (s *Sender) Send(ctx context.Context, sink domain.Sink, secret []byte, d domain.Delivery) app.Outcome {
	r, err := s.encode(ctx, sink, secret, d, s.now())
	if err != nil {
		return app.Outcome{Problem: "the request cannot be made: " + err.Error(), Final: true}
	}
	r.Header.Set("User-Agent", s.agent)
	resp, err := s.client.Do(r)
	if err != nil {
		return app.Outcome{Problem: s.words(err)}
	}
	defer resp.Body.Close()
	answer, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if resp.StatusCode/100 == 2 {
		return app.Outcome{}
	}
	o := app.Outcome{Problem: fmt.Sprintf("answered %d", resp.StatusCode), Gone: resp.StatusCode == http.StatusGone, RetryAfter: retryAfter(resp.Header, s.now())}
	switch line, _, _ := strings.Cut(strings.TrimSpace(string(answer)), "\n"); {
	case resp.StatusCode/100 == 3:
		o.Problem += ": redirects are not followed; give the address that it names"
	case line != "":
		o.Problem += ": " + strings.ToValidUTF8(line[:min(len(line), 200)], "")
	}
	return o
}

func (s *Sender) words(err error) string {
	switch {
	case errors.Is(err, app.ErrPrivate):
		return app.ErrPrivate.Error()
	case errors.Is(err, context.DeadlineExceeded):
		return "did not answer in time"
	}
	return err.Error()
}

// retryAfter is how long the receiver asks to be left alone (RFC 9110, 10.2.3).
func retryAfter(h http.Header, now time.Time) time.Duration {
	text := h.Get("Retry-After")
	if n, err := strconv.Atoi(text); err == nil {
		return time.Duration(max(0, n)) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}
