package statustext

import (
	"context"
	"time"

	"bondd.internal/bondd/internal/client"
	"bondd.internal/bondd/internal/report"
)

const fetchTimeout = 10 * time.Second

// Fetch asks the bondd at an address, as client.New takes it, for its status.
// It takes 10 seconds at most.
func Fetch(ctx context.Context, address string) (*report.Status, error) {
	c, err := client.New(address)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	st := new(report.Status)
	if err := c.Get(ctx, "/api/v1/status", st); err != nil {
		return nil, err
	}
	return st, nil
}
