// Package random makes the kernel's source of random numbers ready at start, for
// those who must not wait for it, and keeps a seed for the next start.
package random
