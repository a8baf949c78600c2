//go:build tools

// Package tools names the program that this module exists to build: the operator by which the Broker class over RabbitMQ declares exchanges and queues.
package tools

import _ "github.com/rabbitmq/messaging-topology-operator"
