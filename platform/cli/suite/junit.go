package suite

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"
)

type junitSuites struct {
	XMLName  xml.Name     `xml:"testsuites"`
	Tests    int          `xml:"tests,attr"`
	Failures int          `xml:"failures,attr"`
	Errors   int          `xml:"errors,attr"`
	Time     string       `xml:"time,attr"`
	Suites   []junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Errors   int         `xml:"errors,attr"`
	Time     string      `xml:"time,attr"`
	Cases    []junitCase `xml:"testcase"`
	millis   int64
	group    string
}

type junitCase struct {
	Name    string        `xml:"name,attr"`
	Class   string        `xml:"classname,attr"`
	File    string        `xml:"file,attr"`
	Time    string        `xml:"time,attr"`
	Failure *junitMessage `xml:"failure,omitempty"`
	Error   *junitMessage `xml:"error,omitempty"`
}

type junitMessage struct {
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

// JUnit writes the results in the XML that build servers read: one testsuite per action and per
// workflow.
func JUnit(w io.Writer, results []Result) error {
	var all junitSuites
	var total int64
	for _, r := range results {
		n := len(all.Suites)
		group := r.Dir + "\x00" + r.Workflow
		if n == 0 || all.Suites[n-1].group != group {
			all.Suites = append(all.Suites, junitSuite{Name: r.Subject(), group: group})
			n++
		}
		s := &all.Suites[n-1]
		c := junitCase{Name: r.Test, Class: r.Subject(), File: r.Dir + r.File, Time: seconds(r.Millis)}
		first, _, _ := strings.Cut(r.Message, "\n")
		message := &junitMessage{Message: first, Text: r.Message}
		switch r.State {
		case Failed:
			c.Failure = message
			s.Failures++
			all.Failures++
		case Broken:
			c.Error = message
			s.Errors++
			all.Errors++
		}
		s.Cases = append(s.Cases, c)
		s.Tests++
		all.Tests++
		s.millis += r.Millis
		s.Time = seconds(s.millis)
		total += r.Millis
	}
	all.Time = seconds(total)
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	enc := xml.NewEncoder(w)
	enc.Indent("", "  ")
	if err := enc.Encode(all); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

func seconds(ms int64) string { return fmt.Sprintf("%d.%03d", ms/1000, ms%1000) }
