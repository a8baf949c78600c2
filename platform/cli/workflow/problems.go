package workflow

import (
	"encoding/json"
	"fmt"

	"github.com/pelton-run/pelton/platform/sdk"
)

func problemsOf(answer []byte) ([]sdk.Location, error) {
	var a struct{ Problems []sdk.Location }
	if err := json.Unmarshal(answer, &a); err != nil {
		return nil, fmt.Errorf("read the server's answer: %w", err)
	}
	return a.Problems, nil
}
