package app

import (
	"errors"
	"net/netip"
	"syscall"
)

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
