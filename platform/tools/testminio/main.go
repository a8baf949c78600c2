// Command testminio builds the MinIO that tests run against, unless it is there.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"github.com/pelton-run/pelton/platform/kit/miniotest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if _, err := miniotest.Program(ctx, func(line string) { fmt.Println(line) }); err != nil {
		fmt.Fprintln(os.Stderr, "testminio:", err)
		os.Exit(1) //nolint:gocritic // nothing to clean up
	}
}
