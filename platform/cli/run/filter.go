package run

import (
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pelton-run/pelton/platform/cli/factory"
)

// Filter selects runs.
type Filter struct {
	Workflow, State, Since, Until, Error, Kind, Group, Trigger, RetryOf string
	Inputs                                                              []string
}

// flags adds the filter's flags to a command.
func (x *Filter) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&x.Workflow, "workflow", "", "only runs of this workflow")
	cmd.Flags().StringVar(&x.State, "state", "", "only runs in this state, or several: failed,cancelled")
	cmd.Flags().StringVar(&x.Since, "since", "", "only runs started since: 2h, 7d, or 2026-12-01T09:00:00Z")
	cmd.Flags().StringVar(&x.Until, "until", "", "only runs started before")
	cmd.Flags().StringVar(&x.Error, "error", "", "only runs whose error holds this text")
	cmd.Flags().StringVar(&x.Kind, "kind", "", "only runs that failed with this kind of error")
	cmd.Flags().StringVar(&x.Group, "group", "", "only failures of this group, as pelton run failures tells it")
	cmd.Flags().StringVar(&x.Trigger, "trigger", "", "only runs started by: manual, http, cron, source, workflow, failure")
	cmd.Flags().StringVar(&x.RetryOf, "retry-of", "", "only runs that repeat this one")
	cmd.Flags().StringArrayVar(&x.Inputs, "input", nil, "only runs with this input: name=value (repeatable)")
}

// values are the parameters of the search.
func (x *Filter) values() (url.Values, error) {
	v := url.Values{}
	for _, s := range strings.Split(x.State, ",") {
		if s == "" {
			continue
		}
		if err := factory.OneOf("state", s, states...); err != nil {
			return nil, err
		}
	}
	for name, text := range map[string]string{"workflow": x.Workflow, "state": x.State, "error": x.Error, "kind": x.Kind, "group": x.Group, "trigger": x.Trigger, "retry_of": x.RetryOf} {
		if text != "" {
			v.Set(name, text)
		}
	}
	for name, text := range map[string]string{"from": x.Since, "to": x.Until} {
		at, err := moment(text, time.Now())
		if err != nil {
			return nil, factory.Usage("--%s %s", map[string]string{"from": "since", "to": "until"}[name], err)
		}
		if at != "" {
			v.Set(name, at)
		}
	}
	for _, in := range x.Inputs {
		if !strings.Contains(in, "=") {
			return nil, factory.Usage("--input %s is not name=value", in)
		}
		v.Add("input", in)
	}
	return v, nil
}

// moment reads a time, or a time back from now such as 90m, 2h or 7d.
func moment(text string, now time.Time) (string, error) {
	if text == "" {
		return "", nil
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t.UTC().Format(time.RFC3339), nil
	}
	back := text
	if days, ok := strings.CutSuffix(text, "d"); ok {
		d, err := time.ParseDuration(days + "h")
		if err != nil {
			return "", momentError(text)
		}
		return now.Add(-24 * d).UTC().Format(time.RFC3339), nil
	}
	d, err := time.ParseDuration(back)
	if err != nil || d < 0 {
		return "", momentError(text)
	}
	return now.Add(-d).UTC().Format(time.RFC3339), nil
}

type momentError string

func (e momentError) Error() string {
	return string(e) + " is no time: write 2h, 7d, or 2026-12-01T09:00:00Z"
}
