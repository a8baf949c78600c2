// Package rabbitmq lets queues of the user's RabbitMQ start runs: triggers of the kind rabbitmq. A message is
// acknowledged once its run is durable, or once it has completed; what no run can be made of is given up.
package rabbitmq

import (
	"encoding/json"
	"net/url"
	"regexp"
	"strings"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
)

// When a message is acknowledged.
const (
	ackDurable   = "durable"
	ackCompleted = "completed"
)

// settings are a trigger's `with`, evaluated.
type settings struct {
	URL        string   `json:"url"`
	Queue      string   `json:"queue"`      // consumed as it is, or declared when exchange is given
	Exchange   string   `json:"exchange"`   // the queue is declared, durable, and bound to it
	Keys       []string `json:"keys"`       // with exchange; none = #
	Prefetch   int      `json:"prefetch"`   // messages under way at a time, 0 = 16
	Ack        string   `json:"ack"`        // "" = durable
	DeadLetter string   `json:"deadLetter"` // queue for what is given up, "" = it is rejected, as the queue's own policy says
}

// read checks evaluated settings; place names the queue that is declared where none is named.
func read(v domain.Values, place string) (settings, error) {
	s := settings{Prefetch: 16, Ack: ackDurable}
	data, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(data, &s)
	}
	if err != nil {
		return s, fault.Wrap(err, fault.Invalid, "the settings cannot be read")
	}
	u, err := url.Parse(s.URL)
	if err != nil || (u.Scheme != "amqp" && u.Scheme != "amqps") || u.Host == "" {
		return s, fault.New(fault.Invalid, "url is no amqp:// or amqps:// URL: look at the secret that it is kept as")
	}
	if s.Queue == "" {
		s.Queue = "pelton." + strings.ReplaceAll(place, "/", ".")
	}
	if s.Exchange != "" && len(s.Keys) == 0 {
		s.Keys = []string{"#"}
	}
	return s, nil
}

// userInfo is what a URL in a text holds of credentials.
var userInfo = regexp.MustCompile(`://[^@/\s]+@`)

// harmless takes credentials out of a text.
func harmless(text string) string { return userInfo.ReplaceAllString(text, "://") }
