package bus

import (
	"context"
	"regexp"
)

// traceHeader is the trace context of W3C, in HTTP and in messages.
const traceHeader = "traceparent"

// traceparents are those of version 00 and later ones, which begin like it.
var traceparents = regexp.MustCompile(`^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?$`)

type traceKey struct{}

// WithTraceparent has what ctx brings about belong to a trace; what is no traceparent changes nothing.
func WithTraceparent(ctx context.Context, traceparent string) context.Context {
	if len(traceparent) > 256 || !traceparents.MatchString(traceparent) {
		return ctx
	}
	return context.WithValue(ctx, traceKey{}, traceparent)
}

// Headers are those of messages that ctx brings about; never nil.
func Headers(ctx context.Context) map[string]string {
	h := map[string]string{}
	if t, ok := ctx.Value(traceKey{}).(string); ok {
		h[traceHeader] = t
	}
	return h
}
