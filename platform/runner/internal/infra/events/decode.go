package events

import (
	"google.golang.org/protobuf/proto"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
	studiov1 "github.com/pelton-run/pelton/platform/runner/internal/infra/contracts/studio/v1"
)

// Definition decodes a studio.v1.Definition.
func Definition(raw []byte) (domain.Definition, error) {
	var d studiov1.Definition
	if err := proto.Unmarshal(raw, &d); err != nil {
		return domain.Definition{}, fault.Wrap(err, fault.Invalid, "the definition cannot be read")
	}
	if d.Workflow == "" {
		return domain.Definition{}, fault.New(fault.Invalid, "the definition names no workflow")
	}
	return definition(&d), nil
}
