package server

import (
	"context"
	"log/slog"

	"github.com/pelton-run/pelton/eventing/rabbitbus"
	"github.com/pelton-run/pelton/platform/kit/fault"
)

// Broker tells whether the bus of the settings is a broker, and whether that answers; it declares nothing.
func (d *Data) Broker(ctx context.Context) (is bool, err error) {
	if d.Config.local() {
		return false, nil
	}
	return true, BrokerAnswers(ctx, d.Config.Bus)
}

// BrokerAnswers tells whether the broker of an amqp:// URL answers and lets its user in.
func BrokerAnswers(ctx context.Context, url string) error {
	b, err := rabbitbus.New(ctx, rabbitbus.Config{URL: url, Name: "pelton-adm doctor", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	defer b.Close()
	if err := b.Ready(); err != nil {
		return fault.Wrap(err, fault.Unavailable, "the broker does not answer: %s", err)
	}
	return nil
}
