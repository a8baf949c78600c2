package server

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/pelton-run/pelton/builder"
	"github.com/pelton-run/pelton/eventing/bridge"
	"github.com/pelton-run/pelton/eventing/bus"
	"github.com/pelton-run/pelton/eventing/membus"
	"github.com/pelton-run/pelton/eventing/rabbitbus"
	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/repository"
	"github.com/pelton-run/pelton/platform/runner"
	"github.com/pelton-run/pelton/platform/studio"
)

// carrier is the bus of this process.
type carrier struct {
	bus.Publisher
	bus.Subscriber
	close func()
}

// Queues are the queues of every service, whichever process runs it.
func Queues() []bus.Queue {
	return slices.Concat(bridge.Queues(), builder.Queues(), repository.Queues(), runner.Queues(), studio.Queues())
}

// Exchange is what a service emits to.
func Exchange(service string) string { return service + ".v1" }

// expects are the queues that take each message, by exchange and key.
func expects() map[string]map[string][]string {
	out := map[string]map[string][]string{}
	for _, q := range Queues() {
		if out[q.Exchange] == nil {
			out[q.Exchange] = map[string][]string{}
		}
		for _, key := range q.Keys {
			out[q.Exchange][key] = append(out[q.Exchange][key], q.Name)
		}
	}
	return out
}

// deadDir is where a bus of one process keeps dead letters.
func (c Config) deadDir() string { return filepath.Join(c.Home, "dead") }

func (p *process) openBus(ctx context.Context) (carrier, error) {
	if p.cfg.local() || p.cfg.Target == "webui" { // which neither emits nor consumes
		b := membus.New(p.cfg.deadDir(), p.log)
		return carrier{Publisher: b, Subscriber: b, close: func() {}}, nil
	}
	var emits []string
	for _, s := range services {
		if s != "webui" && p.cfg.runs(s) {
			emits = append(emits, Exchange(s))
		}
	}
	b, err := rabbitbus.New(ctx, rabbitbus.Config{URL: p.cfg.Bus, Name: "peltond " + p.cfg.Target + " " + p.cfg.Replica, Emits: emits, Expects: expects(), Log: p.log})
	if err != nil {
		return carrier{}, err
	}
	p.ready.Add("bus", b.Ready)
	c := carrier{Publisher: b, Subscriber: b, close: sync.OnceFunc(b.Close)}
	p.onClose(c.close)
	return c, nil
}

const busUsage = `usage: peltond bus dead list [QUEUE]
       peltond bus dead show QUEUE ID
       peltond bus dead replay QUEUE ID|--all
       peltond bus dead drop QUEUE ID|--all

Works on the dead letters of the bus that the settings name (--config, --home, PELTON_BUS).
`

// busMain runs `peltond bus …` and returns its exit code: 0, 1 for a failure, 2 for wrong usage.
func busMain(args, environ []string, stdout, stderr io.Writer) int {
	f := flag.NewFlagSet("peltond bus", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.Usage = func() { fmt.Fprint(stderr, busUsage) }
	file := f.String("config", "", "settings file (YAML), over the built-in settings")
	home := f.String("home", "", "folder of the data (default .pelton)")
	all := f.Bool("all", false, "every dead letter of the queue")
	var words []string
	for rest := args; ; { // flags may stand between the words
		if err := f.Parse(rest); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				return 0
			}
			return 2
		}
		if f.NArg() == 0 {
			break
		}
		words, rest = append(words, f.Arg(0)), f.Args()[1:]
	}
	set := map[string]string{}
	if *home != "" {
		set["home"] = *home
	}
	cfg, err := LoadConfig(*file, environ, set)
	if err != nil {
		fmt.Fprintln(stderr, "peltond:", err)
		return 2
	}
	d := deadCommand{all: *all, stdout: stdout}
	if !d.parse(words) {
		fmt.Fprint(stderr, busUsage)
		return 2
	}
	if err := d.run(context.Background(), cfg); err != nil {
		fmt.Fprintln(stderr, "peltond:", err)
		return 1
	}
	return 0
}

// deadCommand is `peltond bus dead VERB [QUEUE [ID]]`.
type deadCommand struct {
	verb, queue, id string
	all             bool
	stdout          io.Writer
	letters         bus.DeadLetters
}

func (d *deadCommand) parse(words []string) bool {
	if len(words) < 2 || words[0] != "dead" {
		return false
	}
	d.verb, words = words[1], words[2:]
	if len(words) > 0 {
		d.queue, words = words[0], words[1:]
	}
	if len(words) > 0 {
		d.id, words = words[0], words[1:]
	}
	if len(words) > 0 {
		return false
	}
	switch d.verb {
	case "list":
		return d.id == "" && !d.all
	case "show":
		return d.id != "" && !d.all
	case "replay", "drop":
		return d.queue != "" && (d.id == "") == d.all
	}
	return false
}

func (d *deadCommand) run(ctx context.Context, cfg Config) error {
	queues := []string{}
	for _, q := range Queues() {
		queues = append(queues, q.Name)
	}
	if d.queue != "" {
		if !slices.Contains(queues, d.queue) {
			remedy := "the queues are " + strings.Join(queues, ", ")
			if near := fault.Nearest(d.queue, queues); near != "" {
				remedy = "did you mean " + near + "?"
			}
			return fault.InvalidField("QUEUE", "is "+d.queue+", which no service has", remedy)
		}
		queues = []string{d.queue}
	}
	if cfg.local() {
		home, _, err := placeHome(cfg.Home)
		if err != nil {
			return err
		}
		cfg.Home = home
		d.letters = membus.DeadLetters{Dir: cfg.deadDir()}
	} else {
		b, err := rabbitbus.New(ctx, rabbitbus.Config{URL: cfg.Bus, Name: "peltond bus dead", Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			return err
		}
		defer b.Close()
		d.letters = b
	}
	switch d.verb {
	case "list":
		return d.list(ctx, queues)
	case "show":
		return d.show(ctx)
	}
	return d.change(ctx)
}

func (d *deadCommand) list(ctx context.Context, queues []string) error {
	w := tabwriter.NewWriter(d.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "QUEUE\tID\tMESSAGE\tDIED AT\tTRIES\tREASON")
	n := 0
	for _, queue := range queues {
		letters, err := d.letters.Dead(ctx, queue)
		if err != nil {
			return err
		}
		for _, l := range letters {
			reason, _, _ := strings.Cut(l.Reason, "\n")
			fmt.Fprintf(w, "%s\t%s\t%s.%s\t%s\t%d\t%s\n", queue, l.ID, l.Exchange, l.Key, l.DiedAt.UTC().Format(time.RFC3339), l.Tries, reason)
			n++
		}
	}
	if n == 0 {
		fmt.Fprintln(d.stdout, "no dead letters")
		return nil
	}
	return w.Flush()
}

func (d *deadCommand) show(ctx context.Context) error {
	letters, err := d.letters.Dead(ctx, d.queue)
	if err != nil {
		return err
	}
	for _, l := range letters {
		if l.ID != d.id {
			continue
		}
		fmt.Fprintf(d.stdout, "id       %s\nmessage  %s.%s\nqueue    %s\nsent at  %s\ndied at  %s\ntries    %d\nreason   %s\n", l.ID, l.Exchange, l.Key, l.Queue,
			l.At.UTC().Format(time.RFC3339Nano), l.DiedAt.UTC().Format(time.RFC3339Nano), l.Tries, l.Reason)
		for k, v := range l.Headers {
			fmt.Fprintf(d.stdout, "header   %s: %s\n", k, v)
		}
		fmt.Fprintf(d.stdout, "body     %s\n", describe(l.Message))
		return nil
	}
	return fault.New(fault.NotFound, "queue %s gave up no message %s: see `peltond bus dead list`", d.queue, d.id)
}

func (d *deadCommand) change(ctx context.Context) error {
	ids, f, done := []string{d.id}, d.letters.Drop, "dropped"
	if d.verb == "replay" {
		f, done = d.letters.Replay, "handed to its queue again:"
	}
	if d.all {
		letters, err := d.letters.Dead(ctx, d.queue)
		if err != nil {
			return err
		}
		ids = nil
		for _, l := range letters {
			if !slices.Contains(ids, l.ID) {
				ids = append(ids, l.ID)
			}
		}
	}
	for _, id := range ids {
		if err := f(ctx, d.queue, id); err != nil {
			return err
		}
		fmt.Fprintln(d.stdout, done, id)
	}
	return nil
}
