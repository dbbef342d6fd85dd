// Package client asks a running bondd over HTTP, for the command line: what it
// knows, and to carry out an operator's orders.
package client
