package pathcheck

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"bondd.internal/bondd/internal/state"
)

// What may happen to a path, in the notation of these tests.
const (
	anAnswer = 'a'
	aMiss    = 'm'
	aFailure = 'f'
	linkLost = '-'
	linkBack = '+'
)

// letters are the states of a path in the notation of these tests.
var letters = map[state.PathState]byte{state.PathUnknown: '?', state.PathUp: 'U', state.PathMissing: 'M', state.PathDown: 'D'}

// happen lets one thing happen to a path.
func happen(p *path, t *Target, what byte) {
	switch what {
	case anAnswer:
		p.answered(t, time.Millisecond)
	case aMiss:
		p.missed(t)
	case aFailure:
		p.failed(t)
	default:
		p.link(what == linkBack)
	}
}

func TestPath(t *testing.T) {
	target := Target{MissedMax: 3, ReturnAfter: 2}
	for _, tt := range []struct{ name, events, states string }{
		{"the first answer is enough", "+a", "?U"},
		{"never heard", "+mmmm", "?MMDD"},
		{"too few are missed", "+ammammm", "?UMMUMMD"},
		{"it takes answers in a row to return", "+mmmamaa", "?MMDDDDU"},
		{"the link is lost", "+a-+a", "?U??U"},
		{"misses before the link was lost do not count", "+amm-+mm", "?UMM??MM"},
		{"pulling the cable of a dead path does not mend it", "+mmm-+aa", "?MMD?DDU"},
		{"answers before the link was lost do not count", "+mmma-+aa", "?MMDD?DDU"},
		{"after it has returned it is as good as new", "+mmmaa-+a", "?MMDDU??U"},
		{"some cannot be sent", "+affa", "?UUUU"},
		{"one that cannot be sent neither counts nor interrupts misses", "+mmfm", "?MMMD"},
		{"nor answers", "+mmmafa", "?MMDDDU"},
		{"many cannot be sent", "+affffff", "?UUUMMDD"},
		{"from the start", "+fffff", "???MMD"},
		{"so many interrupt answers", "+mmmafffaa", "?MMDDDDDDU"},
	} {
		var p path
		var got []byte
		for i := range tt.events {
			happen(&p, &target, tt.events[i])
			got = append(got, letters[p.State])
		}
		if string(got) != tt.states {
			t.Errorf("%s: %s leads through %s, want %s", tt.name, tt.events, got, tt.states)
		}
	}
}

func TestPathCounters(t *testing.T) {
	p := path{}
	target := Target{MissedMax: 2, ReturnAfter: 1}
	for _, e := range "+aam-+mmmfff" {
		happen(&p, &target, byte(e))
	}
	p.answered(&target, 7*time.Millisecond)
	if p.Answered != 3 || p.Missed != 4 || p.Failed != 3 || p.RTT != 7*time.Millisecond {
		t.Errorf("counted %+v, want 3 answered, 4 missed, 3 failed, the last after 7ms: each probe once, over the loss of a link", p.Path)
	}
}

// judge says what the state of a path is after events, from the definition
// alone: it looks at all of them anew.
func judge(t *Target, events string) byte {
	// The probes that weigh, with the changes of the link between them.
	var weighty []byte
	failures := 0
	for i := range events {
		e := events[i]
		if e != aFailure {
			failures = 0
		} else if failures++; failures < t.MissedMax {
			continue
		} else {
			e = aMiss
		}
		weighty = append(weighty, e)
	}
	dead := false
	for i := range weighty {
		upTo := string(weighty[:i+1])
		dead = dead && !strings.HasSuffix(upTo, strings.Repeat("a", t.ReturnAfter)) ||
			strings.HasSuffix(upTo, strings.Repeat("m", t.MissedMax))
	}
	since := weighty
	if i := strings.LastIndexAny(string(weighty), "+-"); i >= 0 {
		if weighty[i] == linkLost {
			return '?'
		}
		since = weighty[i+1:]
	}
	switch {
	case dead:
		return 'D'
	case len(since) == 0:
		return '?'
	case since[len(since)-1] == anAnswer:
		return 'U'
	}
	return 'M'
}

// Whatever happens, a path is what the definition says.
func TestPathIsAsDefined(t *testing.T) {
	for seed := range uint64(3000) {
		rng := rand.New(rand.NewPCG(seed, 0))
		target := Target{MissedMax: 1 + rng.IntN(4), ReturnAfter: 1 + rng.IntN(4)}
		// Some runs see little loss, some much.
		kinds := strings.Repeat("a", 1+rng.IntN(9)) + strings.Repeat("m", 1+rng.IntN(9)) + strings.Repeat("f", rng.IntN(4)) + strings.Repeat("-", rng.IntN(2))
		events, p, link := "+", path{}, true
		for range 80 {
			e := kinds[rng.IntN(len(kinds))]
			switch {
			case !link:
				e = linkBack
				link = true
			case e == linkLost:
				link = false
			}
			happen(&p, &target, e)
			events += string(e)
			if got, want := letters[p.State], judge(&target, events); got != want {
				t.Fatalf("seed %d, %d missed, %d to return: after %s the state is %c, want %c", seed, target.MissedMax, target.ReturnAfter, events, got, want)
			}
		}
	}
}
