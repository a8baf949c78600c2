// Package bridge holds the types of the bridge's HTTP interface.
package bridge
