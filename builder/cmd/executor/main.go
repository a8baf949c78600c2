//go:build linux

// Command executor is the program of a build Job's pod. `executor build` links kaniko: it fetches
// the source, writes the context and the Dockerfile, and builds into a tar; it has no credentials, for
// code of an author runs beside it. `executor fetch` and `executor push` run no code of an author: the one
// fetches the image that a build starts from where that takes credentials, the other pushes the tar and says what it holds.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.LookupEnv)) //nolint:gocritic // nothing to clean up
}

func run(ctx context.Context, args []string, env func(string) (string, bool)) int {
	if len(args) == 1 {
		switch args[0] {
		case "fetch":
			return ended(fetchBase(ctx, env))
		case "build":
			return ended(build(ctx, env))
		case "push":
			return ended(push(ctx, env))
		}
	}
	fmt.Fprintln(os.Stderr, "executor: give fetch, build or push; it is started by Pelton's builder, in a Job")
	return 2
}
