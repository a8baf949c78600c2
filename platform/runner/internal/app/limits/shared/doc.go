// Package shared keeps limits over several replicas: what package limits decides in one process, one replica
// decides for all.
//
// Every limit lies in a domain (a project, or the server), and each domain has one keeper: a
// replica chosen by rendezvous hash over those that live. Each replica has one Node, which keeps
// the domains that are its own and asks the others' keepers for its runs, in batches over the
// connection between replicas. The claims of a request lie in one domain; who needs places in
// several asks for them one after the other, always in the same order of domains. The order of use:
//
//	n := shared.New(shared.Config{Network: …, Tell: func(shared.Decision) {…}})
//	go n.Run(ctx)                   // for as long as the incarnation lives
//	err := n.Restore(ctx, held)     // after a take-over, BEFORE its estate is settled: what journals say is granted
//	n.Acquire(request)              // Tell is called: at once or later, with causes while it waits, then granted
//	n.Release(id)                   // when the end of what it was for is durable
//
// A grant is to be journalled with the start that it allows. It belongs to the node that asked
// until Release; a node that lost its lease is thrown away with its grants, which its heir restores.
//
// A new keeper grants nothing before it knows what is held: it asks every replica that lives, and
// waits while there is a dead one whose runs nobody has taken up. Whoever is asked gives the
// domain up if it kept it, so that at no time two keepers grant. Until then requests wait, with a
// cause that says so. The buckets of a new keeper begin with what is held taken off.
package shared
