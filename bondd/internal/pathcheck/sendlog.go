package pathcheck

import (
	"log/slog"
	"time"
)

// settled is how long no probe may have failed before a slave's trouble with
// sending is over. Some drivers refuse now a frame and now not.
const settled = 10 * time.Second

// A sendLog logs when probes begin to fail to be sent by a slave, and when that
// is over.
type sendLog struct {
	log     *slog.Logger
	failing map[string]*failing // by the slave's name
}

// failing is a slave's trouble.
type failing struct {
	last   time.Time
	probes uint64
}

// sent says that a probe was sent at a time, or failed to be.
func (l *sendLog) sent(slave string, at time.Time, err error) {
	f := l.failing[slave]
	switch {
	case err != nil && f == nil:
		l.log.Warn("probes cannot be sent", "slave", slave, "err", err)
		l.failing[slave] = &failing{last: at, probes: 1}
	case err != nil:
		f.last = at
		f.probes++
	case f != nil && at.Sub(f.last) >= settled:
		l.log.Info("probes are sent again", "slave", slave, "failed", f.probes)
		delete(l.failing, slave)
	}
}
