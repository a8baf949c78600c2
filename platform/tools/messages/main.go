// Command messages writes platform/docs/messages.md: who emits which message, to which exchange
// under which key, and which queues of whom take it. It reads the contracts and the queues that the
// services declare, and fails when they do not match.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bufbuild/protocompile"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/pelton-run/pelton/eventing/bus"
	"github.com/pelton-run/pelton/platform/server"
)

const page = "platform/docs/messages.md"

// patterns are the places of the contracts of emitters.
var patterns = []string{"*/contracts/*/v1/*.proto", "platform/*/contracts/*/v1/*.proto", "eventing/*/contracts/*/v1/*.proto"}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "messages:", err)
		os.Exit(1)
	}
}

func run() error {
	messages, err := read(".")
	if err != nil {
		return err
	}
	text, err := render(messages, server.Queues())
	if err != nil {
		return err
	}
	return os.WriteFile(page, []byte(text), 0o644)
}

// message is one interaction between services.
type message struct {
	emitter, exchange, key string
	about                  string // what it says, of its comment
}

// read reads the messages of every emitter, in the order of their contracts.
func read(root string) ([]message, error) {
	var out []message
	for _, pattern := range patterns {
		files, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			c := protocompile.Compiler{Resolver: &protocompile.SourceResolver{}, SourceInfoMode: protocompile.SourceInfoStandard}
			compiled, err := c.Compile(context.Background(), file)
			if err != nil {
				return nil, err
			}
			out = append(out, interactions(compiled[0])...)
		}
	}
	slices.SortStableFunc(out, func(a, b message) int { return strings.Compare(a.exchange, b.exchange) })
	return out, nil
}

// interactions are the messages whose comment gives their key.
func interactions(file protoreflect.FileDescriptor) []message {
	var out []message
	exchange := string(file.Package())
	emitter, _, _ := strings.Cut(exchange, ".")
	for i := range file.Messages().Len() {
		m := file.Messages().Get(i)
		about, remark, ok := strings.Cut(comment(file, m), fmt.Sprintf("Key %q.", m.Name()))
		if !ok {
			continue
		}
		if about = strings.Trim(strings.TrimPrefix(about, string(m.Name())), ":. "); about != "" {
			about += "."
		}
		out = append(out, message{emitter, exchange, string(m.Name()), strings.TrimSpace(about + " " + remark)})
	}
	return out
}

func comment(file protoreflect.FileDescriptor, m protoreflect.MessageDescriptor) string {
	return strings.Join(strings.Fields(file.SourceLocations().ByDescriptor(m).LeadingComments), " ")
}

const head = `# Messages between services

Made by ` + "`go run ./platform/tools/messages`" + ` of the contracts and of the queues that the services declare; ` + "`make verify`" + ` and a test check that it is current.

Each interaction has its own message type. Its emitter owns it, in ` + "`contracts/<service>/v1`" + `; the exchange is named after the protobuf package, the routing key after
the message. Contracts only grow: no field is removed, renumbered or retyped, and for each version that a message had, an encoded example in
` + "`platform/tools/contracts/golden`" + ` must be understood for ever by its emitter's type and by every consumer's.

| emitter | exchange | key | message | queues |
|---|---|---|---|---|
`

const queuesHead = `
## Queues

A queue belongs to the consumer that its name begins with. Dead letters of it lie in ` + "`<queue>.dead`" + ` ([RabbitMQ](split.md)).

| queue | consumer | takes | from | processes |
|---|---|---|---|---|
`

// render writes the page; a queue that takes what nobody emits is an error.
func render(messages []message, queues []bus.Queue) (string, error) {
	var out strings.Builder
	out.WriteString(head)
	emitted := map[string]bool{}
	for _, m := range messages {
		emitted[m.exchange+"."+m.key] = true
		var takers []string
		for _, q := range queues {
			if q.Exchange == m.exchange && slices.Contains(q.Keys, m.key) {
				takers = append(takers, "`"+q.Name+"`")
			}
		}
		if takers == nil {
			takers = []string{"none: it tells whoever binds a queue"}
		}
		fmt.Fprintf(&out, "| %s | `%s` | `%s` | `%s.%s`%s | %s |\n", m.emitter, m.exchange, m.key, m.exchange, m.key, said(m.about), strings.Join(takers, ", "))
	}
	out.WriteString(queuesHead)
	for _, q := range queues {
		for _, key := range q.Keys {
			if !emitted[q.Exchange+"."+key] {
				return "", fmt.Errorf("queue %s takes %s of %s, which has no such message", q.Name, key, q.Exchange)
			}
		}
		consumer, _, _ := strings.Cut(q.Name, ".")
		by := "one at a time, in order"
		if q.Shared {
			by = "all that run the consumer"
		}
		fmt.Fprintf(&out, "| `%s` | %s | `%s` | `%s` | %s |\n", q.Name, consumer, strings.Join(q.Keys, "`, `"), q.Exchange, by)
	}
	return out.String(), nil
}

func said(about string) string {
	if about == "" {
		return ""
	}
	return ": " + strings.ReplaceAll(about, "|", `\|`)
}
