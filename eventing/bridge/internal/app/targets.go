package app

import (
	"errors"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"syscall"

	"github.com/pelton-run/pelton/eventing/bridge/internal/domain"
	"github.com/pelton-run/pelton/platform/kit/fault"
)

// checkAddress finds what is wrong with a sink's address, nil = nothing.
func checkAddress(s domain.Sink) *fault.Field {
	schemes, example, instead := []string{"http", "https"}, "https://example.com/hooks/pelton", "leave them out: webhooks are signed"
	if s.Kind == domain.SinkRabbitMQ {
		schemes, example, instead = []string{"amqp", "amqps"}, "amqps://rabbit.example.com/vhost", "give them as secret, USER:PASSWORD"
	}
	u, err := url.Parse(s.URL)
	switch {
	case err != nil || !slices.Contains(schemes, u.Scheme) || u.Host == "":
		return &fault.Field{Path: "sink.url", Message: "is " + strconv.Quote(s.URL), Remedy: "give a URL such as " + example}
	case u.User != nil:
		return &fault.Field{Path: "sink.url", Message: "holds a user name or password, which lists would show", Remedy: instead}
	case len(s.URL) > 2048:
		return &fault.Field{Path: "sink.url", Message: "is longer than 2048 bytes", Remedy: "give a shorter one"}
	}
	return nil
}

// ErrPrivate tells that a sink's address is not one that the settings allow.
var ErrPrivate = errors.New("the address is of this machine or of a private network, which bridge.private_targets does not allow")

// Reachable is the Control of a net.Dialer (its arguments are those) for addresses that users give: with private false
// it refuses this machine and private networks. It sees the address that a name was resolved to, so that a name that
// changes its mind is refused too.
func Reachable(private bool) func(network, address string, _ syscall.RawConn) error {
	return func(_, address string, _ syscall.RawConn) error {
		if private {
			return nil
		}
		at, err := netip.ParseAddrPort(address)
		if err != nil || !public(at.Addr().Unmap()) {
			return ErrPrivate
		}
		return nil
	}
}

// carrierGrade is the address space of RFC 6598, which Go does not count as private.
var carrierGrade = netip.MustParsePrefix("100.64.0.0/10")

func public(a netip.Addr) bool {
	return a.IsGlobalUnicast() && !a.IsPrivate() && !a.IsLoopback() && !a.IsLinkLocalUnicast() && !carrierGrade.Contains(a)
}
