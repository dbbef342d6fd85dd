package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"bondd.internal/bondd/internal/drill"
	"bondd.internal/bondd/internal/report"
	"bondd.internal/bondd/internal/state"
)

// Commands are what an operator may ask for over HTTP.
type Commands struct {
	Control     Control
	Drills      Drills
	Credentials Credentials // of who may
}

// Control switches a bond to one of its slaves because an operator asks for it,
// and returns when that is done. The error is a *state.Refusal where it was not
// to be done.
type Control interface {
	Failover(ctx context.Context, bond, to string) error
}

// Drills switches a bond to every standby and back. The error is a
// *state.Refusal if nothing was moved.
type Drills interface {
	Run(ctx context.Context, bond string) (*drill.Report, error)
}

const (
	maxOrder     = 4 << 10 // bytes of a command's body
	commandLimit = 10 * time.Second
)

// commander answers commands.
type commander struct {
	*handler
	Commands

	// drilling is held for writing by a drill, and for reading by every other
	// command that would come between.
	drilling sync.RWMutex
}

// routes are the commands, each behind the guard.
func (h *handler) routes(c *Commands) map[string]http.Handler {
	if c == nil {
		return nil
	}
	x := &commander{handler: h, Commands: *c}
	orders := newBudget(maxCommands, maxCommands, maxWait)
	g := &guard{credentials: c.Credentials, log: h.log}
	return map[string]http.Handler{
		"POST /api/v1/failover": g.protect(orders.hold(http.HandlerFunc(x.failover))),
		"POST /api/v1/drill":    g.protect(orders.hold(http.HandlerFunc(x.drill))),
	}
}

// failover answers POST /api/v1/failover.
func (c *commander) failover(w http.ResponseWriter, r *http.Request) {
	order := report.FailoverOrder{Bond: r.URL.Query().Get("bond"), To: r.URL.Query().Get("to")}
	if !readOrder(w, r, &order, `{"bond":"bond0","to":"eth1"}`) || !c.choose(w, &order.Bond) {
		return
	}
	if order.To == "" {
		refuse(w, http.StatusBadRequest, `it does not say to which slave: send {"to":"eth1"}, or ?to=eth1`)
		return
	}
	if !c.drilling.TryRLock() {
		refuse(w, http.StatusConflict, "a drill is running: try again when it has ended")
		return
	}
	defer c.drilling.RUnlock()
	ctx, cancel := context.WithTimeout(r.Context(), commandLimit)
	defer cancel()
	done := report.FailoverDone{Bond: order.Bond, To: order.To}
	if b := c.src.Snapshot().Bond(order.Bond); b != nil {
		done.From = b.ActiveSlave
	}
	c.log.Info("http: failover ordered", "bond", order.Bond, "to", order.To, "remote", r.RemoteAddr)
	began := time.Now()
	if err := c.Control.Failover(ctx, order.Bond, order.To); err != nil {
		c.failed(w, "failover", err)
		return
	}
	done.TookSeconds = time.Since(began).Seconds()
	c.writeJSON(w, http.StatusOK, done)
}

// drill answers POST /api/v1/drill. It takes some seconds for each standby.
func (c *commander) drill(w http.ResponseWriter, r *http.Request) {
	order := report.DrillOrder{Bond: r.URL.Query().Get("bond")}
	if !readOrder(w, r, &order, `{"bond":"bond0"}`) || !c.choose(w, &order.Bond) {
		return
	}
	if !c.drilling.TryLock() {
		refuse(w, http.StatusConflict, "a drill or a failover is being carried out: try again when it has ended")
		return
	}
	defer c.drilling.Unlock()
	// The server's deadlines are for requests that end soon; without an end to
	// its reading, the request would be cancelled after the server's ReadTimeout.
	connection := http.NewResponseController(w)
	if err := errors.Join(connection.SetReadDeadline(time.Time{}), connection.SetWriteDeadline(time.Time{})); err != nil {
		c.failed(w, "drill", err)
		return
	}
	c.log.Info("http: drill ordered", "bond", order.Bond, "remote", r.RemoteAddr)
	report, err := c.Drills.Run(r.Context(), order.Bond)
	if err != nil {
		c.failed(w, "drill", err)
		return
	}
	// The client has the usual time to take the answer.
	if err := connection.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		c.log.Error("http: no limit to an answer", "err", err)
	}
	c.writeJSON(w, http.StatusOK, report)
}

// readOrder reads a command's body, if there is one, into order, which has what
// the query says. It reports whether that went well, and answers if it did not.
func readOrder(w http.ResponseWriter, r *http.Request, order any, example string) bool {
	body := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxOrder))
	body.DisallowUnknownFields()
	err := body.Decode(order)
	if err == nil {
		_, err = body.Token()
		if err == nil {
			err = errors.New("there is more after it")
		}
	}
	var tooLong *http.MaxBytesError
	switch {
	case errors.Is(err, io.EOF):
		return true
	case errors.As(err, &tooLong):
		refuse(
			w,
			http.StatusRequestEntityTooLarge,
			fmt.Sprintf("the body is longer than %d bytes: send %s", maxOrder, example),
		)
	default:
		refuse(w, http.StatusBadRequest, fmt.Sprintf("the body is not what is wanted (%v): send %s", err, example))
	}
	return false
}

// choose fills in the bond that a command leaves out, if there is no choice. It
// reports whether there is a bond now, and answers if there is not.
func (c *commander) choose(w http.ResponseWriter, bond *string) bool {
	if *bond != "" {
		return true
	}
	var names []string
	for _, b := range c.src.Snapshot().Bonds {
		names = append(names, b.Name)
	}
	switch len(names) {
	case 0:
		refuse(w, http.StatusConflict, "there is no bond yet")
	case 1:
		*bond = names[0]
		return true
	default:
		refuse(w, http.StatusBadRequest, fmt.Sprintf("it does not say which bond: there are %s", report.List(names)))
	}
	return false
}

// failed answers a command that was not carried out.
func (c *commander) failed(w http.ResponseWriter, command string, err error) {
	var refusal *state.Refusal
	switch {
	case errors.As(err, &refusal) && refusal.Unknown:
		refuse(w, http.StatusNotFound, refusal.Why)
	case errors.As(err, &refusal):
		refuse(w, http.StatusConflict, refusal.Why)
	case errors.Is(err, context.DeadlineExceeded):
		c.log.Error("http: "+command+" took too long", "err", err)
		refuse(
			w,
			http.StatusGatewayTimeout,
			fmt.Sprintf(
				"it was not done within %v, and may be done yet; /api/v1/status says where traffic is",
				commandLimit,
			),
		)
	case errors.Is(err, context.Canceled): // the client is gone, or bondd stops
		refuse(w, http.StatusServiceUnavailable, "it was cancelled")
	default:
		c.log.Error("http: "+command+" failed", "err", err)
		refuse(w, http.StatusInternalServerError, err.Error())
	}
}

// refuse answers with what is wrong, as JSON: commands are for programs.
func refuse(w http.ResponseWriter, code int, why string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(report.Refused{Error: why}) // if it fails, the client is gone
}
