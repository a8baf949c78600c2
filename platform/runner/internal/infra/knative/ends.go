package knative

import (
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// startFails says how a call ended that told nothing.
type startFails int

const (
	failsUnsure  startFails = iota
	failsUnsent             // nothing left for the network
	failsNoRoute            // the ingress does not know the service, yet
	failsBusy               // no instance had room for it: activator and queue-proxy answer 503 before they pass a call on
	failsToken              // the instance refuses the token: it is too old, or the clocks differ
)

// withoutTrailers is what a gRPC client says of a refusal that a proxy has cut in two. A server sends one as a single frame,
// headers that are the end, too; activator and queue-proxy (httputil.ReverseProxy with a negative FlushInterval) flush headers
// by a timer, now and then before they know of the end, which then comes bare. A proxy that ends the call of an
// instance that has died in that way instead of breaking it looks the same.
const withoutTrailers = "server closed the stream without sending trailers"

// classify tells what a call's end means; stale tells that its token was good no more by then, which an instance that got
// the call that late has refused.
func classify(err error, sent, stale bool) startFails {
	st, _ := status.FromError(err)
	switch {
	case !sent:
		return failsUnsent
	case st.Code() == codes.Unauthenticated || stale && st.Code() == codes.Internal && strings.Contains(st.Message(), withoutTrailers):
		return failsToken
	case st.Code() == codes.Unimplemented && strings.Contains(st.Message(), "404"):
		return failsNoRoute
	case st.Code() == codes.Unavailable && strings.Contains(st.Message(), "HTTP status code received from server: 503"):
		return failsBusy
	}
	return failsUnsure
}

// cutByLimit tells that queue-proxy or the activator ended a call because the service's time limit had
// passed. They write words into the stream, which a gRPC client takes for an overlong message.
func cutByLimit(err error, lasted, limit time.Duration) bool {
	st, _ := status.FromError(err)
	switch {
	case lasted < limit-time.Second:
		return false
	case st.Code() == codes.ResourceExhausted:
		return strings.Contains(st.Message(), "larger than max")
	}
	return st.Code() == codes.Internal || st.Code() == codes.Unavailable || st.Code() == codes.Unknown
}
