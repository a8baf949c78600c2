// Package authorization holds the types of the authorization service's HTTP interface.
package authorization
