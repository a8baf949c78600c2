// Package helm embeds the chart that installs Pelton on Kubernetes.
package helm

import "embed"

// Chart holds the folder "pelton".
//
//go:embed all:pelton
var Chart embed.FS
