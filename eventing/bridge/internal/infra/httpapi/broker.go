package httpapi

import (
	"net/http"

	"github.com/pelton-run/pelton/eventing/bridge/internal/domain"
	"github.com/pelton-run/pelton/platform/kit/authn"
	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/kit/httpx"
)

type brokerJSON struct {
	Namespace string             `json:"namespace"`
	Address   string             `json:"address,omitempty"`
	Objects   []brokerObjectJSON `json:"objects"`
}

type brokerObjectJSON struct {
	Kind   string `json:"kind"`
	Name   string `json:"name"`
	State  string `json:"state"`
	Reason string `json:"reason,omitempty"`
}

func brokerOf(s domain.BrokerState) brokerJSON {
	j := brokerJSON{Namespace: s.Namespace, Address: s.Address, Objects: make([]brokerObjectJSON, len(s.Objects))}
	for i, o := range s.Objects {
		j.Objects[i] = brokerObjectJSON(o)
	}
	return j
}

func (a API) broker(w http.ResponseWriter, r *http.Request) error {
	s, err := a.Service.Broker(r.Context(), r.PathValue("project"))
	if err != nil {
		return err
	}
	return httpx.WriteJSON(w, http.StatusOK, brokerOf(s))
}

const keyRemedy = "give an API key of the role operator, as `pelton key create broker --role operator` shows it"

func (a API) connectBroker(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Key string `json:"key"`
	}
	if err := httpx.DecodeJSON(r, &in, 64<<10); err != nil {
		return err
	}
	if in.Key == "" {
		return fault.InvalidField("key", "is missing", keyRemedy)
	}
	project := r.PathValue("project")
	p, err := a.Verify.Check(r.Context(), in.Key)
	switch {
	case fault.Is(err, fault.Unavailable) || fault.Is(err, fault.Timeout):
		return err
	case err != nil:
		return fault.InvalidField("key", "is not valid", keyRemedy)
	case !p.Key:
		return fault.InvalidField("key", "is the token of a login, which ends soon", keyRemedy)
	case p.Role(project) < authn.Operator:
		return fault.InvalidField("key", "does not have the role operator in project "+project, keyRemedy)
	}
	if err := a.Service.ConnectBroker(r.Context(), project, in.Key); err != nil {
		return err
	}
	return a.broker(w, r)
}

func (a API) disconnectBroker(w http.ResponseWriter, r *http.Request) error {
	if err := a.Service.DisconnectBroker(r.Context(), r.PathValue("project")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
