// Program caller is what a pod may try: it begins each execution of $CALLS, all at once, and tells the status that each ends
// with. A place that does not answer is given time, since what fences it may be taken away meanwhile.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	pb "github.com/pelton-run/pelton/wrapper/wrapperpb"
)

type call struct{ Name, Target, Host, Token, Text string }

func main() {
	var calls []call
	if err := json.Unmarshal([]byte(os.Getenv("CALLS")), &calls); err != nil {
		log.Fatal(err)
	}
	var all sync.WaitGroup
	for _, c := range calls {
		all.Go(func() {
			err := c.try()
			fmt.Fprintln(os.Stderr, "#", c.Name, err)
			fmt.Println(c.Name, status.Code(err))
		})
	}
	all.Wait()
}

// try gives nil for an execution that came to its end.
func (c call) try() error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	conn, err := grpc.NewClient("passthrough:///"+c.Target, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithAuthority(c.Host),
		grpc.WithDefaultCallOptions(grpc.WaitForReady(true)))
	if err != nil {
		return err
	}
	defer conn.Close()
	if c.Token != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+c.Token)
	}
	stream, err := pb.NewActionClient(conn).Execute(ctx)
	if err != nil {
		return err
	}
	start := &pb.Start{Attempt: 1, Inputs: map[string][]byte{"text": []byte(c.Text)}}
	if err := stream.Send(&pb.ToAction{ExecutionId: c.Name, Token: c.Token, Body: &pb.ToAction_Start{Start: start}}); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if err := stream.CloseSend(); err != nil { // proxies pass a refusal on only to a caller that has nothing more to say
		return err
	}
	for {
		m, err := stream.Recv()
		switch {
		case err != nil:
			return err
		case m.GetFailed() != nil:
			return status.Error(codes.Aborted, m.GetFailed().Message)
		case m.GetDone() != nil || m.GetResult() != nil:
			return nil
		}
	}
}
