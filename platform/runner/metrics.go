package runner

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/pelton-run/pelton/platform/runner/internal/app"
)

// metrics registers what the service counts; nothing without a registry.
func metrics(reg prometheus.Registerer) (m app.Metrics) {
	if reg == nil {
		return m
	}
	removed := prometheus.NewCounter(prometheus.CounterOpts{Name: "pelton_retention_runs_removed_total", Help: "Runs removed because their retention was over."})
	days := prometheus.NewCounter(prometheus.CounterOpts{Name: "pelton_retention_days_dropped_total", Help: "Days of history dropped as a whole."})
	files := prometheus.NewCounter(prometheus.CounterOpts{Name: "pelton_retention_files_removed_total", Help: "Blobs of the filestore removed because nothing mentioned them."})
	size := prometheus.NewCounter(prometheus.CounterOpts{Name: "pelton_retention_files_removed_bytes_total", Help: "Size of those blobs."})
	took := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "pelton_retention_sweep_seconds", Help: "How long sweeps of what has expired took.",
		Buckets: prometheus.ExponentialBuckets(0.01, 4, 10)})
	reg.MustRegister(removed, days, files, size, took)
	m.Swept = func(s app.Swept) {
		removed.Add(float64(s.Runs))
		days.Add(float64(s.Days))
		files.Add(float64(s.Files))
		size.Add(float64(s.Bytes))
		took.Observe(s.Took.Seconds())
	}
	return m
}
