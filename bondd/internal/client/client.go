package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"bondd.internal/bondd/internal/report"
)

// maxAnswer is the size in bytes of the longest answer that is read; the status
// of thousands of slaves fits.
const maxAnswer = 4 << 20

// A Client asks one bondd.
type Client struct {
	base           *url.URL
	name, password string // in place of those in base; empty: those
	http           http.Client
}

// New returns a client of the bondd at an address: that of its page,
// "http://192.168.1.202" or "https://user:password@host:8443". Without a scheme
// the address is taken as http.
func New(address string) (*Client, error) {
	if !strings.Contains(address, "://") {
		address = "http://" + address
	}
	base, err := url.Parse(address)
	if err != nil {
		// The parser's error repeats the whole address, with a password in it.
		var inner *url.Error
		if errors.As(err, &inner) {
			err = inner.Err
		}
		return nil, fmt.Errorf("read address: %w", err)
	}
	c := &Client{base: base}
	c.http.CheckRedirect = func(_ *http.Request, via []*http.Request) error {
		if via[0].Method != http.MethodGet {
			return http.ErrUseLastResponse // an order is for whom it was given to
		}
		if len(via) >= 10 {
			return errors.New("it redirects again and again")
		}
		return nil
	}
	return c, nil
}

// Address is the address that New was given, without its password.
func (c *Client) Address() string { return c.base.Redacted() }

// User returns the name and the password that the address has; each is empty if
// it has none.
func (c *Client) User() (name, password string) {
	password, _ = c.base.User.Password()
	return c.base.User.Username(), password
}

// SetUser sets the name and the password, in place of the address's.
func (c *Client) SetUser(name, password string) { c.name, c.password = name, password }

// An Error is an answer that is not the one that was asked for.
type Error struct {
	Code    int    // of HTTP
	Status  string // its words
	Message string // bondd's own, in a sentence; empty if it gave none
}

func (e *Error) Error() string {
	if e.Message != "" {
		return e.Message
	}
	if e.Code == http.StatusNotFound {
		return e.Status + "; is this bondd's base URL?"
	}
	return e.Status
}

// Get reads the JSON document at a path into answer.
func (c *Client) Get(ctx context.Context, path string, answer any) error {
	return c.do(ctx, http.MethodGet, path, nil, answer)
}

// Post sends an order to a path and reads what became of it into answer. An
// order that was refused is an *Error.
func (c *Client) Post(ctx context.Context, path string, order, answer any) error {
	body, err := json.Marshal(order)
	if err != nil {
		return fmt.Errorf("encode order: %w", err)
	}
	return c.do(ctx, http.MethodPost, path, body, answer)
}

func (c *Client) do(ctx context.Context, method, path string, body []byte, answer any) error {
	request, err := http.NewRequestWithContext(ctx, method, c.base.JoinPath(path).String(), bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("ask %s: %w", c.Address(), err)
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if c.name != "" {
		request.SetBasicAuth(c.name, c.password)
	}
	response, err := c.http.Do(request)
	if err != nil {
		// The client's own error repeats the whole address.
		var inner *url.Error
		if errors.As(err, &inner) {
			err = inner.Err
		}
		return fmt.Errorf("ask %s: %w", c.Address(), err)
	}
	defer response.Body.Close()
	document := json.NewDecoder(io.LimitReader(response.Body, maxAnswer))
	if response.StatusCode != http.StatusOK {
		failure := &Error{Code: response.StatusCode, Status: response.Status}
		var refused report.Refused
		if document.Decode(&refused) == nil { // else it is plain text, or not bondd's
			failure.Message = refused.Error
		}
		return fmt.Errorf("ask %s: %w", c.Address(), failure)
	}
	if err := document.Decode(answer); err != nil {
		return fmt.Errorf("read the answer of %s, which may not be bondd: %w", c.Address(), err)
	}
	return nil
}
