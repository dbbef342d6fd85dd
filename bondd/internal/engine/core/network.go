package core

import "bondd.internal/bondd/internal/state"

// A network is what the kernel said, with its links at hand: what is looked up
// for every slave must not go through all links.
type network struct {
	*state.Network
	byName  map[string]*state.Link
	byIndex map[int]*state.Link
}

func newNetwork(n *state.Network) *network {
	w := &network{n, make(map[string]*state.Link, len(n.Links)), make(map[int]*state.Link, len(n.Links))}
	for i := range n.Links {
		w.byName[n.Links[i].Name] = &n.Links[i]
		w.byIndex[n.Links[i].Index] = &n.Links[i]
	}
	return w
}

// Link returns the link of that name, or nil.
func (w *network) Link(name string) *state.Link { return w.byName[name] }

// LinkByIndex returns the link of that index, or nil.
func (w *network) LinkByIndex(index int) *state.Link { return w.byIndex[index] }
