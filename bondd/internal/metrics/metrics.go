package metrics

import (
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"bondd.internal/bondd/internal/state"
	"bondd.internal/hwprobe"
)

// maxScrapes is how many scrapes run at once. Two servers and a curious person
// are enough for one appliance; the rest get 503.
const maxScrapes = 4

// Handler serves bondd's metrics and those of the Go runtime and the process,
// in Prometheus's text format or OpenMetrics, whichever the client asks for.
// snapshot must not return nil.
func Handler(snapshot func() *state.Snapshot, log *slog.Logger) http.Handler {
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(
		NewCollector(snapshot),
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		ErrorLog:            slog.NewLogLogger(log.Handler(), slog.LevelError),
		ErrorHandling:       promhttp.ContinueOnError,
		MaxRequestsInFlight: maxScrapes,
		EnableOpenMetrics:   true,
	})
}

// NewCollector returns a collector that shows the snapshot of the moment of the
// scrape. snapshot must not return nil.
func NewCollector(snapshot func() *state.Snapshot) prometheus.Collector {
	return &collector{snapshot: snapshot}
}

type collector struct {
	snapshot func() *state.Snapshot
}

// A metric is the name, meaning and labels of one series. Each is declared once
// and used once, below.
type metric struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
}

func gauge(name, help string, labels ...string) metric {
	return metric{prometheus.NewDesc("bondd_"+name, help, labels, nil), prometheus.GaugeValue}
}

func counter(name, help string, labels ...string) metric {
	return metric{prometheus.NewDesc("bondd_"+name, help, labels, nil), prometheus.CounterValue}
}

func (m metric) send(ch chan<- prometheus.Metric, value float64, labels ...string) {
	ch <- prometheus.MustNewConstMetric(m.desc, m.kind, value, labels...)
}

// A histogram is a metric of many values. Its infinite bucket is implied by its count.
type histogram struct {
	desc *prometheus.Desc
}

func newHistogram(name, help string, labels ...string) histogram {
	return histogram{prometheus.NewDesc("bondd_"+name, help, labels, nil)}
}

func (m histogram) send(ch chan<- prometheus.Metric, h *state.Histogram, labels ...string) {
	buckets := make(map[float64]uint64, len(h.Bounds))
	for i, bound := range h.Bounds {
		buckets[bound] = h.Counts[i]
	}
	ch <- prometheus.MustNewConstHistogram(m.desc, h.Count, h.Sum, buckets, labels...)
}

var (
	buildInfo   = gauge("build_info", "The version of bondd that is running; the value is always 1.", "version")
	snapshotAge = gauge("snapshot_age_seconds", "The time since bondd's engine published what the other metrics "+
		"show, which it does every second; over 5 seconds the state of the bonds is not known and has no series.")

	bondInfo = gauge(
		"bond_info",
		"The mode and the Ethernet address of the bond; the value is always 1.",
		"bond",
		"mode",
		"mac",
	)
	bondUp       = gauge("bond_up", "Whether the bond carries traffic on at least one healthy slave.", "bond")
	bondDegraded = gauge(
		"bond_degraded",
		"Whether the bond carries traffic and has fewer usable slaves than configured, or a redundancy that is not there.",
		"bond",
	)
	bondSlavesConfigured = gauge(
		"bond_slaves_configured",
		"The number of slaves that the configuration gives the bond.",
		"bond",
	)
	bondSlavesUp = gauge(
		"bond_slaves_up",
		"The number of slaves that could carry the bond's traffic now.",
		"bond",
	)
	failovers = counter(
		"failovers_total",
		"Failovers of the bond since bondd started, by reason.",
		"bond",
		"reason",
	)
	failoverDuration = newHistogram(
		"failover_duration_seconds",
		"The time from carrier loss seen to traffic switched, for each failover since bondd started.",
		"bond",
	)
	lastFailover = gauge(
		"last_failover_timestamp_seconds",
		"The time of the last switch of the bond's traffic; absent until there was one.",
		"bond",
	)

	slaveInfo = gauge(
		"slave_info",
		"The driver and the permanent Ethernet address of the slave's card; the value is always 1.",
		"bond",
		"slave",
		"driver",
		"permanent_mac",
	)
	slavePresent = gauge("slave_present", "Whether the slave's card is in the machine.", "bond", "slave")
	slaveActive  = gauge(
		"slave_active",
		"Whether the slave carries the bond's traffic, or a share of it.",
		"bond",
		"slave",
	)
	slaveLinkUp   = gauge("slave_link_up", "Whether the slave has a link.", "bond", "slave")
	slaveDetached = gauge(
		"slave_detached",
		"Whether the device of the slave's card no longer replies although its interface is there.",
		"bond",
		"slave",
	)
	slaveSuppressed = gauge(
		"slave_suppressed",
		"Whether the slave is held out of the bond because its link flaps.",
		"bond",
		"slave",
	)
	slavePenalty = gauge(
		"slave_penalty",
		"What flap damping counts against the slave: 1 for each failure, decaying.",
		"bond",
		"slave",
	)
	slaveParked = gauge(
		"slave_parked",
		"Whether the slave was taken out of the bond until its path is back.",
		"bond",
		"slave",
	)
	slaveSpeed = gauge(
		"slave_speed_bytes_per_second",
		"The speed of the slave's link, in each direction; absent while it is not known.",
		"bond",
		"slave",
	)
	slaveLinkFailures = counter(
		"slave_link_failures_total",
		"Losses of the slave's link that the kernel's bonding driver counted.",
		"bond",
		"slave",
	)
	slaveCarrierChanges = counter(
		"slave_carrier_changes_total",
		"Changes of the slave's carrier, in either direction.",
		"bond",
		"slave",
	)

	slaveForwarding = gauge(
		"slave_forwarding_delay_seconds",
		"How long the switch port took from the link to the first reply of a path, when the link last came; "+
			"absent while it is not known.",
		"bond",
		"slave",
	)
	slavePathUp = gauge(
		"slave_path_up",
		"Whether the target answers the probes from the slave; absent while nothing is known.",
		"bond",
		"slave",
		"target",
	)
	pathProbes = counter(
		"path_probes_total",
		"Probes of the way from the slave to the target: answered, timed out (missed), or failed to be sent.",
		"bond",
		"slave",
		"target",
		"result",
	)
	pathRTT = gauge(
		"path_rtt_seconds",
		"The time from the last answered probe to its answer; absent until there was one.",
		"bond",
		"slave",
		"target",
	)

	lacpPartnerInfo = gauge(
		"lacp_partner_info",
		"The partner of the bond's active aggregator; the value is always 1. The address 00:00:00:00:00:00 "+
			"means that there is none.",
		"bond",
		"partner_mac",
		"partner_key",
		"actor_key",
		"aggregator",
	)
	lacpPorts        = gauge("lacp_ports", "The number of slaves in the bond's active aggregator.", "bond")
	slaveLACPCarries = gauge(
		"slave_lacp_carries",
		"Whether traffic passes by the slave in both directions, by what both ends say over LACP.",
		"bond",
		"slave",
	)
	slaveLACPState = gauge(
		"slave_lacp_state",
		"Whether this is how far the slave and the other end have agreed over LACP.",
		"bond",
		"slave",
		"state",
	)

	pollErrors = counter(
		"poll_errors_total",
		"Polls of the slave's link state without a reply from its driver.",
		"bond",
		"slave",
	)
	polls        = counter("polls_total", "Polls of the link state of all slaves.")
	pollDuration = newHistogram(
		"poll_duration_seconds",
		"The time that one poll of the link state of all slaves took.",
	)
	disagreements = counter(
		"link_disagreements_total",
		"Polls that found another link state than the kernel's events had told.",
	)
	kernelWrites = counter(
		"kernel_writes_total",
		"Write requests sent to the kernel, refused ones included; a bond that is as configured gets none.",
	)
	resyncs = counter(
		"netlink_resyncs_total",
		"Full reads of the kernel's state after events were lost or could not be understood.",
	)

	hardwareVerdict = gauge(
		"hardware_verdict",
		"Whether this is the verdict on the machine's network cards.",
		"verdict",
	)

	configDrift = gauge(
		"config_drift",
		"The number of settings in the kernel that differ from the running configuration.",
	)
	configError = gauge(
		"config_error",
		"Whether the configuration file that should run has an error, so that another configuration runs in its place.",
	)
	configUnconfirmed = gauge(
		"config_unconfirmed",
		"Whether the running configuration is on trial and awaits confirmation.",
	)
	configRollbacks = counter(
		"config_rollbacks_total",
		"Configurations that were undone, because they failed or were not confirmed.",
	)
)

// present are the metrics that say how bonds and slaves are now. Those are not
// known once the snapshot is too old: a bond that was up is neither up nor down
// then. What was counted stays counted.
var present = func() map[*prometheus.Desc]bool {
	set := make(map[*prometheus.Desc]bool)
	for _, m := range []metric{
		bondUp, bondDegraded, bondSlavesUp,
		slavePresent, slaveActive, slaveLinkUp, slaveSuppressed, slavePenalty, slaveParked, slaveSpeed,
		slaveForwarding, slavePathUp,
		lacpPartnerInfo, lacpPorts, slaveLACPCarries, slaveLACPState,
	} {
		set[m.desc] = true
	}
	return set
}()

// verdicts are the labels of bondd_hardware_verdict, one series for each.
var verdicts = []hwprobe.Verdict{hwprobe.VerdictPass, hwprobe.VerdictWarn, hwprobe.VerdictFail, state.VerdictUnknown}

// A traffic metric is one of a slave's counters.
type traffic struct {
	metric
	value func(*state.Counters) uint64
}

func receive(name, help string, value func(*state.Counters) uint64) traffic {
	return traffic{counter("slave_receive_"+name+"_total", help, "bond", "slave"), value}
}

func transmit(name, help string, value func(*state.Counters) uint64) traffic {
	return traffic{counter("slave_transmit_"+name+"_total", help, "bond", "slave"), value}
}

// traffics are named and folded as ifconfig has them.
var traffics = []traffic{
	receive("packets", "Packets that the slave received.", func(c *state.Counters) uint64 { return c.RxPackets }),
	receive("bytes", "Bytes that the slave received.", func(c *state.Counters) uint64 { return c.RxBytes }),
	receive(
		"errors",
		"Packets that the slave received with an error of any kind.",
		func(c *state.Counters) uint64 { return c.RxErrors },
	),
	receive(
		"dropped",
		"Received packets that were dropped, or missed because there was no room.",
		func(c *state.Counters) uint64 { return c.RxDropped },
	),
	receive(
		"overruns",
		"Received packets that overran the slave's own buffer.",
		func(c *state.Counters) uint64 { return c.RxOverruns },
	),
	receive(
		"frame_errors",
		"Received packets with a wrong length, checksum or alignment.",
		func(c *state.Counters) uint64 { return c.RxFrame },
	),
	receive(
		"nohandler",
		"Packets without a protocol handler, expected on a backup.",
		func(c *state.Counters) uint64 { return c.RxNoHandler },
	),
	transmit("packets", "Packets that the slave sent.", func(c *state.Counters) uint64 { return c.TxPackets }),
	transmit("bytes", "Bytes that the slave sent.", func(c *state.Counters) uint64 { return c.TxBytes }),
	transmit(
		"errors",
		"Packets that the slave could not send, for an error of any kind.",
		func(c *state.Counters) uint64 { return c.TxErrors },
	),
	transmit(
		"dropped",
		"Packets that were dropped before the slave could send them.",
		func(c *state.Counters) uint64 { return c.TxDropped },
	),
	transmit(
		"overruns",
		"Packets to be sent that underran the slave's own buffer.",
		func(c *state.Counters) uint64 { return c.TxOverruns },
	),
	transmit(
		"carrier_errors",
		"Packets lost because the carrier was lost or the transmission aborted.",
		func(c *state.Counters) uint64 { return c.TxCarrier },
	),
	{
		counter("slave_collisions_total", "Collisions while the slave was sending.", "bond", "slave"),
		func(c *state.Counters) uint64 { return c.Collisions },
	},
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, m := range []metric{
		snapshotAge,
		buildInfo, bondInfo, bondUp, bondDegraded, bondSlavesConfigured, bondSlavesUp, failovers, lastFailover,
		slaveInfo, slavePresent, slaveActive, slaveLinkUp, slaveDetached, slaveSuppressed, slavePenalty, slaveParked,
		slaveSpeed, slaveForwarding, slaveLinkFailures, slaveCarrierChanges,
		slavePathUp, pathProbes, pathRTT, lacpPartnerInfo, lacpPorts, slaveLACPCarries, slaveLACPState,
		pollErrors, polls, disagreements, kernelWrites, resyncs, hardwareVerdict, configDrift, configError,
		configUnconfirmed, configRollbacks,
	} {
		ch <- m.desc
	}
	ch <- failoverDuration.desc
	ch <- pollDuration.desc
	for _, t := range traffics {
		ch <- t.desc
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	s, now := c.snapshot(), time.Now()
	snapshotAge.send(ch, s.Age(now).Seconds())
	if !s.Stale(now) {
		collect(ch, s)
		return
	}
	all := make(chan prometheus.Metric)
	go func() {
		defer close(all)
		collect(all, s)
	}()
	for m := range all {
		if !present[m.Desc()] {
			ch <- m
		}
	}
}

func collect(ch chan<- prometheus.Metric, s *state.Snapshot) {
	buildInfo.send(ch, 1, s.Version)
	for i := range s.Bonds {
		collectBond(ch, &s.Bonds[i])
	}

	polls.send(ch, float64(s.Totals.Polls))
	pollDuration.send(ch, &s.Totals.PollDuration)
	disagreements.send(ch, float64(s.Totals.Disagreements))
	kernelWrites.send(ch, float64(s.Totals.Writes))
	resyncs.send(ch, float64(s.Totals.Resyncs))

	for _, v := range verdicts {
		hardwareVerdict.send(ch, truth(s.Hardware.Verdict == v), string(v))
	}

	configDrift.send(ch, float64(len(s.Config.Drift)))
	configError.send(ch, truth(s.Config.Error != ""))
	configUnconfirmed.send(ch, truth(!s.Config.ConfirmUntil.IsZero()))
	configRollbacks.send(ch, float64(s.Config.Rollbacks))
}

func collectBond(ch chan<- prometheus.Metric, b *state.Bond) {
	bondInfo.send(ch, 1, b.Name, b.Mode.String(), b.MAC.String())
	bondUp.send(ch, truth(b.Up()), b.Name)
	bondDegraded.send(ch, truth(b.Degraded()), b.Name)
	bondSlavesConfigured.send(ch, float64(b.Configured()), b.Name)
	bondSlavesUp.send(ch, float64(b.SlavesUp()), b.Name)
	for _, reason := range state.Reasons {
		failovers.send(ch, float64(b.Failovers[reason]), b.Name, string(reason))
	}
	failoverDuration.send(ch, &b.FailoverDuration, b.Name)
	if !b.LastFailover.IsZero() {
		lastFailover.send(ch, float64(b.LastFailover.UnixMilli())/1000, b.Name)
	}
	if l := b.LACP; l != nil {
		lacpPartnerInfo.send(
			ch,
			1,
			b.Name,
			net.HardwareAddr(l.PartnerMAC[:]).String(),
			strconv.Itoa(l.PartnerKey),
			strconv.Itoa(l.ActorKey),
			strconv.Itoa(l.Aggregator),
		)
		lacpPorts.send(ch, float64(l.Ports), b.Name)
	}
	for i := range b.Slaves {
		s := &b.Slaves[i]
		collectSlave(ch, b.Name, s)
		for j := range s.Paths {
			collectPath(ch, b.Name, s.Name, &s.Paths[j])
		}
		if s.LACP == nil {
			continue
		}
		now, _ := b.PortLACP(s)
		slaveLACPCarries.send(ch, truth(s.LinkUp && s.LACP.Carries()), b.Name, s.Name)
		for _, st := range state.LACPStates {
			slaveLACPState.send(ch, truth(st == now), b.Name, s.Name, string(st))
		}
	}
}

func collectSlave(ch chan<- prometheus.Metric, bond string, s *state.Slave) {
	slavePresent.send(ch, truth(s.Present), bond, s.Name)
	slaveActive.send(ch, truth(s.Active), bond, s.Name)
	slaveLinkUp.send(ch, truth(s.LinkUp), bond, s.Name)
	slaveDetached.send(ch, truth(s.Detached), bond, s.Name)
	slaveSuppressed.send(ch, truth(s.Suppressed), bond, s.Name)
	slavePenalty.send(ch, s.Penalty, bond, s.Name)
	slaveParked.send(ch, truth(s.Parked), bond, s.Name)
	pollErrors.send(ch, float64(s.PollErrors), bond, s.Name)
	if !s.Present {
		// There is no card to count: zeros here would look like a card that was reset.
		return
	}
	slaveInfo.send(ch, 1, bond, s.Name, s.Driver, s.PermanentMAC.String())
	if s.SpeedMbps != nil {
		slaveSpeed.send(ch, float64(*s.SpeedMbps)*1e6/8, bond, s.Name)
	}
	if s.ForwardingDelay > 0 {
		slaveForwarding.send(ch, s.ForwardingDelay.Seconds(), bond, s.Name)
	}
	slaveLinkFailures.send(ch, float64(s.LinkFailures), bond, s.Name)
	slaveCarrierChanges.send(ch, float64(s.CarrierChanges), bond, s.Name)
	for _, t := range traffics {
		t.send(ch, float64(t.value(&s.Counters)), bond, s.Name)
	}
}

func collectPath(ch chan<- prometheus.Metric, bond, slave string, p *state.Path) {
	target := p.Target.String()
	if p.State != state.PathUnknown {
		slavePathUp.send(ch, truth(p.State != state.PathDown), bond, slave, target)
	}
	pathProbes.send(ch, float64(p.Answered), bond, slave, target, "answered")
	pathProbes.send(ch, float64(p.Missed), bond, slave, target, "missed")
	pathProbes.send(ch, float64(p.Failed), bond, slave, target, "failed")
	if p.RTT > 0 {
		pathRTT.send(ch, p.RTT.Seconds(), bond, slave, target)
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
