package factory

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"

	"go.yaml.in/yaml/v3"
)

// Formats of -o.
var Formats = []string{"table", "json", "yaml", "name"}

// Print prints an answer in the asked-for format: json and yaml as the server sent it, whole;
// names one a line; or the table that a person reads.
func (f *Factory) Print(raw json.RawMessage, names []string, table func(w io.Writer)) error {
	switch f.Output {
	case "json":
		var b bytes.Buffer
		if err := json.Indent(&b, raw, "", "  "); err != nil {
			return fmt.Errorf("the server's answer is no JSON: %w", err)
		}
		_, err := fmt.Fprintln(f.Out, strings.TrimSpace(b.String()))
		return err
	case "yaml":
		// JSON is YAML: decoding into a node keeps order and numbers as they are.
		var n yaml.Node
		if err := yaml.Unmarshal(raw, &n); err != nil {
			return fmt.Errorf("the server's answer is no JSON: %w", err)
		}
		block(&n)
		enc := yaml.NewEncoder(f.Out)
		enc.SetIndent(2)
		if err := enc.Encode(&n); err != nil {
			return err
		}
		return enc.Close()
	case "name":
		for _, n := range names {
			if _, err := fmt.Fprintln(f.Out, n); err != nil {
				return err
			}
		}
		return nil
	}
	w := tabwriter.NewWriter(f.Out, 2, 2, 2, ' ', 0)
	table(w)
	return w.Flush()
}

func block(n *yaml.Node) {
	n.Style = n.Style &^ (yaml.FlowStyle | yaml.DoubleQuotedStyle)
	for _, c := range n.Content {
		block(c)
	}
}

// Table prints a heading and rows; with no rows only the sentence empty, which says how to get some.
func Table(w io.Writer, empty string, head []string, rows [][]string) {
	if len(rows) == 0 {
		fmt.Fprintln(w, empty)
		return
	}
	// Every row has every cell, else a short one ends the columns of those above it; the spaces that
	// this leaves at the ends of lines are cut.
	var b bytes.Buffer
	t := tabwriter.NewWriter(&b, 2, 2, 2, ' ', 0)
	clean := strings.NewReplacer("\n", " ", "\t", " ")
	for _, r := range append([][]string{head}, rows...) {
		cells := make([]string, len(head))
		for i, cell := range r {
			cells[i] = clean.Replace(cell)
		}
		fmt.Fprintln(t, strings.Join(cells, "\t"))
	}
	_ = t.Flush() // into memory
	for line := range strings.Lines(b.String()) {
		fmt.Fprintln(w, strings.TrimRight(line, " \n"))
	}
}

// When prints a time in the reader's zone, "" for none.
func When(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format("2006-01-02 15:04:05")
}

// Millis prints a duration in milliseconds, "" when an end is unknown.
func Millis(from, to time.Time) string {
	if from.IsZero() || to.IsZero() || to.Before(from) {
		return ""
	}
	return fmt.Sprintf("%.0f ms", float64(to.Sub(from).Microseconds())/1000)
}

// Deref is the value of a time, zero for nil and for times that stand for none.
func Deref(t *time.Time) time.Time {
	if t == nil || t.Unix() <= 0 {
		return time.Time{}
	}
	return *t
}

// Query makes "?a=b&c=d" of names and values; empty values are left out.
func Query(pairs ...string) string {
	q := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			q.Set(pairs[i], pairs[i+1])
		}
	}
	if len(q) == 0 {
		return ""
	}
	return "?" + q.Encode()
}

// Count prints "1 error", "2 errors".
func Count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
