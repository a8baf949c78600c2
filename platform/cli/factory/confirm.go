package factory

import (
	"bufio"
	"fmt"
	"strings"
)

// Confirm asks a question at the terminal; only y and yes mean yes. Without a terminal nobody can
// answer: that is a usage error that names the flag which answers for good.
func (f *Factory) Confirm(question, flag string) (bool, error) {
	if f.ReadSecret == nil {
		return false, Usage("%s Nobody can be asked here: give %s", question, flag)
	}
	fmt.Fprintf(f.Err, "%s [y/N] ", question)
	line, err := bufio.NewReader(f.In).ReadString('\n')
	if err != nil && line == "" {
		return false, nil // the end of input is no yes
	}
	switch strings.ToLower(strings.TrimSpace(line)) {
	case "y", "yes":
		return true, nil
	}
	return false, nil
}
