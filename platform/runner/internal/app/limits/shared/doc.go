// Package shared keeps limits over several replicas: what package limits decides in one process, one replica
// decides for all.
//
// Every limit lies in a domain (a project, or the server), and each domain has one keeper: a
// replica chosen by rendezvous hash over those that live. Each replica has one Node, which keeps
// the domains that are its own and asks the others' keepers for its runs, in batches over the
// connection between replicas. The claims of a request lie in one domain; who needs places in
// several asks for them one after the other, always in the same order of domains. The order of use:
//
//	n := shared.New(shared.Config{Me: fence, Network: …})
//	go n.Run(ctx)      // for as long as the incarnation lives
//	n.Adopt(request)   // what journals say is granted, after a take-over
//	err := n.Flush(ctx) // its keepers know of that: now the dead one's estate may be settled
//	n.Acquire(request) // its Tell is called: at once or later, with causes while it waits, then granted
//	n.Started(id)      // when the start that the grant allows is durable, with what it takes of rates
//	n.Release(id)      // when the end of what it was for is durable
//
// A grant is to be journalled with the start that it allows. It belongs to the node that asked
// until Release; a node that lost its lease is thrown away with its grants, which its heir adopts.
//
// A new keeper grants nothing before it knows what is held: it asks every replica that lives, and
// waits while there is a dead one whose runs nobody has taken up. Whoever is asked gives the
// domain up if it kept it, looks anew who lives before it keeps it again, and from then on listens to the
// one that asked only, so that at no time two keepers' grants count. Until then requests wait, with a
// cause that says so. What has been taken of rates is durable with the starts: the buckets of a new keeper
// begin with that, and with the grants whose starts are on their way, taken off.
//
// What a node asks of itself goes no detour: with one replica Acquire, Adopt and Release are done when they return.
package shared
