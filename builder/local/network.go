package local

import (
	"regexp"
	"strings"
)

var (
	networkSigns = regexp.MustCompile(`(?i)(dns error|could not resolve|temporary failure in name resolution|name or service not known|no such host|connection refused|network is unreachable|timed out|timeout|ENOTFOUND|ECONNREFUSED|ECONNRESET|EAI_AGAIN|ETIMEDOUT|tls handshake|certificate|failed to fetch|error sending request|proxyconnect|Connection reset|403 Forbidden|502 Bad Gateway|503 Service)`)
	hostPattern  = regexp.MustCompile(`https?://([A-Za-z0-9.-]+)`)
)

// network makes an Error when a package manager could not reach its registry.
func network(output, setting string) *Error {
	if !networkSigns.MatchString(output) {
		return nil
	}
	host := "the package registry"
	if m := hostPattern.FindStringSubmatch(output); m != nil {
		host = m[1]
	}
	return &Error{Kind: "network", Host: host, Setting: setting,
		Message: host + " could not be reached: check the connection, or set " + setting + " to a mirror that can\n" + lastLines(output, 6)}
}

func lastLines(s string, n int) string {
	all := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(all[max(0, len(all)-n):], "\n")
}
