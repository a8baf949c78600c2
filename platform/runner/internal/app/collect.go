package app

import "context"

// Named says what a deployer still has to hold: what deployments that are deploying or live name, and
// those of runs that have not ended.
type Named struct {
	Builds      map[string]map[string]bool // project -> digests
	Deployments map[string]bool            // what those that are deploying or live listen as
}

// Collector removes what nothing names any more. A Deployer whose builds cost something while they
// wait implements it.
type Collector interface {
	// Collect lists what there is, then asks for what is named, and removes the rest, unless it is young:
	// who deploys notes the deployment before the build is made callable.
	Collect(ctx context.Context, named func(context.Context) (Named, error)) error
}

// Named tells what a deployer still has to hold.
func (s *Service) Named(ctx context.Context) (Named, error) {
	n := Named{Builds: map[string]map[string]bool{}, Deployments: map[string]bool{}}
	needed, err := s.deps.Store.Needed(ctx)
	for _, d := range needed {
		if d.State == DeploymentDeploying || d.State == DeploymentLive {
			n.Deployments[d.Listens()] = true
		}
		if n.Builds[d.Project] == nil {
			n.Builds[d.Project] = map[string]bool{}
		}
		for _, b := range d.Definition.Builds {
			n.Builds[d.Project][b.Digest] = true
		}
	}
	return n, err
}
