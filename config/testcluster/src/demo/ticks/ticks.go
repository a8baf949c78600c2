// Package ticks is one hand-written server-streaming gRPC service, so that the
// demo needs no protoc: testcluster.Ticks/Count takes a StringValue and streams five.
package ticks

import (
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// Method is the full name of the streaming call.
const Method = "/testcluster.Ticks/Count"

// Stream describes it.
var Stream = grpc.StreamDesc{StreamName: "Count", ServerStreams: true, Handler: count}

// Register adds the service to a server.
func Register(s *grpc.Server) {
	s.RegisterService(&grpc.ServiceDesc{ServiceName: "testcluster.Ticks", HandlerType: (*any)(nil), Streams: []grpc.StreamDesc{Stream}}, nil)
}

func count(_ any, st grpc.ServerStream) error {
	var in wrapperspb.StringValue
	if err := st.RecvMsg(&in); err != nil {
		return err
	}
	for i := 1; i <= 5; i++ {
		if err := st.SendMsg(wrapperspb.String(fmt.Sprintf("%s %d", in.Value, i))); err != nil {
			return err
		}
		time.Sleep(200 * time.Millisecond)
	}
	return nil
}
