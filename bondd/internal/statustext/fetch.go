package statustext

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"bondd.internal/bondd/internal/web/status"
)

const (
	fetchTimeout = 10 * time.Second
	maxStatus    = 4 << 20 // bytes; thousands of slaves fit
)

// Fetch asks the bondd at an address for its status. The address is that of its
// page, "http://192.168.1.202" or "https://user:password@host:8443"; without a
// scheme it is taken as http. Fetch takes 10 seconds at most.
func Fetch(ctx context.Context, address string) (*status.Status, error) {
	if !strings.Contains(address, "://") {
		address = "http://" + address
	}
	base, err := url.Parse(address)
	if err != nil {
		return nil, fmt.Errorf("read address: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, base.JoinPath("/api/v1/status").String(), nil)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", base.Redacted(), err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		// The client's own error repeats the whole address.
		var inner *url.Error
		if errors.As(err, &inner) {
			err = inner.Err
		}
		return nil, fmt.Errorf("ask %s: %w", base.Redacted(), err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("ask %s: it answers %s", base.Redacted(), answer.Status)
	}
	st := new(status.Status)
	if err := json.NewDecoder(io.LimitReader(answer.Body, maxStatus)).Decode(st); err != nil {
		return nil, fmt.Errorf("read the answer of %s, which may not be bondd: %w", base.Redacted(), err)
	}
	return st, nil
}
