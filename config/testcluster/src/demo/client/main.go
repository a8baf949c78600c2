// Command client makes one server-streaming call through an ingress and prints when
// each message came: client ADDRESS AUTHORITY.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"testcluster/demo/ticks"
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cc, err := grpc.NewClient("passthrough:///"+os.Args[1], grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithAuthority(os.Args[2]))
	if err != nil {
		log.Fatal(err)
	}
	t0 := time.Now()
	st, err := cc.NewStream(ctx, &ticks.Stream, ticks.Method)
	if err != nil {
		log.Fatal(err)
	}
	if err := errors.Join(st.SendMsg(wrapperspb.String("tick")), st.CloseSend()); err != nil {
		log.Fatal(err)
	}
	for {
		var m wrapperspb.StringValue
		if err := st.RecvMsg(&m); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%6d ms %s\n", time.Since(t0).Milliseconds(), m.Value)
	}
}
