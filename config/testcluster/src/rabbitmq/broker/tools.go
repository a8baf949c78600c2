//go:build tools

// Package tools names the programs that this module exists to build: Knative's Broker class over RabbitMQ.
package tools

import (
	_ "knative.dev/eventing-rabbitmq/cmd/controller/broker"
	_ "knative.dev/eventing-rabbitmq/cmd/dispatcher"
	_ "knative.dev/eventing-rabbitmq/cmd/ingress"
)
