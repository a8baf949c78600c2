package app

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
)

// secretBook keeps every project's secrets, sealed, so that dispatch never waits for the
// database. What is read is the newest version.
type secretBook struct {
	cipher Cipher
	mu     sync.RWMutex
	sealed map[string]map[string]SealedSecret
	vars   map[string]domain.Values
}

func newSecretBook(c Cipher) *secretBook {
	return &secretBook{cipher: c, sealed: map[string]map[string]SealedSecret{}, vars: map[string]domain.Values{}}
}

// replace takes everything anew: runs keep the variables they started with.
func (b *secretBook) replace(secrets []SealedSecret, vars map[string][]Variable) {
	sealed, all := map[string]map[string]SealedSecret{}, map[string]domain.Values{}
	for _, s := range secrets {
		if sealed[s.Project] == nil {
			sealed[s.Project] = map[string]SealedSecret{}
		}
		sealed[s.Project][s.Name] = s
	}
	for project, list := range vars {
		all[project] = domain.Values{}
		for _, v := range list {
			all[project][v.Name] = v.Value
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sealed, b.vars = sealed, all
}

func (b *secretBook) put(s SealedSecret) {
	b.mu.Lock()
	defer b.mu.Unlock()
	m := b.sealed[s.Project]
	if m == nil {
		m = map[string]SealedSecret{}
		b.sealed[s.Project] = m
	}
	m[s.Name] = s
}

func (b *secretBook) variables(project string) domain.Values {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.vars[project]
}

// putVar replaces the project's map: runs keep the one they started with.
func (b *secretBook) putVar(project, name string, v domain.Value) {
	b.mu.Lock()
	defer b.mu.Unlock()
	m := domain.Values{}
	for k, x := range b.vars[project] {
		m[k] = x
	}
	if v == nil {
		delete(m, name)
	} else {
		m[name] = v
	}
	b.vars[project] = m
}

// of gives one project's secrets to tainted expressions.
func (b *secretBook) of(project string) domain.SecretSource { return projectSecrets{b, project} }

type projectSecrets struct {
	book    *secretBook
	project string
}

func (p projectSecrets) Secret(name string) (string, bool) {
	p.book.mu.RLock()
	s, ok := p.book.sealed[p.project][name]
	p.book.mu.RUnlock()
	if !ok {
		return "", false
	}
	plain, err := p.book.cipher.Open(s.Sealed, secretContext(p.project, name))
	return string(plain), err == nil
}

func (p projectSecrets) Unseal(v domain.Value) (domain.Value, error) {
	if !domain.Sealed(v) {
		return v, nil
	}
	var s struct {
		Sealed []byte `json:"$sealed"`
	}
	if err := json.Unmarshal(v, &s); err != nil {
		return nil, err
	}
	return p.book.cipher.Open(s.Sealed, inputContext(p.project))
}

// seal turns a password input into what may be journalled.
func (b *secretBook) seal(project string, v domain.Value) (domain.Value, error) {
	sealed, err := b.cipher.Seal(v, inputContext(project))
	if err != nil {
		return nil, err
	}
	return json.Marshal(map[string][]byte{domain.SealedKey: sealed})
}

func secretContext(project, name string) string { return "secret/" + project + "/" + name }
func inputContext(project string) string        { return "input/" + project }

// SecretNames lists a project's secrets without their values.
func (s *Service) SecretNames(_ context.Context, project string) ([]SecretInfo, error) {
	b := s.engine.secrets
	b.mu.RLock()
	defer b.mu.RUnlock()
	out := []SecretInfo{}
	for _, name := range sortedNames(b.sealed[project]) {
		out = append(out, SecretInfo{Name: name, UpdatedAt: b.sealed[project][name].UpdatedAt})
	}
	return out, nil
}

// PutSecret sets a secret; runs read it from their next attempt on.
func (s *Service) PutSecret(ctx context.Context, project, name, value string) error {
	if err := checkName("secret", name); err != nil {
		return err
	}
	if value == "" {
		return fault.InvalidField("value", "a secret must not be empty", "give a value, or delete the secret")
	}
	if len(value) > 64<<10 {
		return fault.InvalidField("value", "a secret is at most 64 KiB", "store large material as a file")
	}
	sealed, err := s.deps.Cipher.Seal([]byte(value), secretContext(project, name))
	if err != nil {
		return fault.Wrap(err, fault.Internal, "seal the secret")
	}
	sec := SealedSecret{Project: project, Name: name, Sealed: sealed, UpdatedAt: s.now().UTC()}
	if err := s.deps.Store.PutSecret(ctx, sec); err != nil {
		return err
	}
	s.engine.secrets.put(sec)
	s.signal(0, signalSettings)
	return nil
}

// DeleteSecret removes a secret; attempts that need it fail from now on.
func (s *Service) DeleteSecret(ctx context.Context, project, name string) error {
	if err := s.deps.Store.DeleteSecret(ctx, project, name); err != nil {
		return err
	}
	b := s.engine.secrets
	b.mu.Lock()
	delete(b.sealed[project], name)
	b.mu.Unlock()
	s.signal(0, signalSettings)
	return nil
}

// Variables lists a project's variables by name.
func (s *Service) Variables(ctx context.Context, project string) ([]Variable, error) {
	all, err := s.deps.Store.Variables(ctx)
	if err != nil {
		return nil, err
	}
	return append([]Variable{}, all[project]...), nil
}

// PutVariable sets a variable; runs that start later see it.
func (s *Service) PutVariable(ctx context.Context, project, name string, value domain.Value) error {
	if err := checkName("variable", name); err != nil {
		return err
	}
	if !json.Valid(value) {
		return fault.InvalidField("value", "this is not JSON", "give a JSON value, for example \"text\" or 3")
	}
	if len(value) > 64<<10 {
		return fault.InvalidField("value", "a variable is at most 64 KiB", "pass large data as a file")
	}
	v := Variable{Name: name, Value: value, UpdatedAt: s.now().UTC().Truncate(time.Millisecond)}
	if err := s.keepFiles(ctx, project, value); err != nil {
		return err
	}
	if err := s.deps.Store.PutVariable(ctx, project, v); err != nil {
		return err
	}
	s.engine.secrets.putVar(project, name, value)
	s.signal(0, signalSettings)
	return nil
}

// DeleteVariable removes a variable; runs under way keep it.
func (s *Service) DeleteVariable(ctx context.Context, project, name string) error {
	if err := s.deps.Store.DeleteVariable(ctx, project, name); err != nil {
		return err
	}
	s.engine.secrets.putVar(project, name, nil)
	s.signal(0, signalSettings)
	return nil
}

// SourceCursor is the last durable cursor of a source trigger, nil at first.
func (s *Service) SourceCursor(ctx context.Context, listener, trigger string) ([]byte, error) {
	return s.deps.Store.SourceCursor(ctx, listener, trigger)
}

// TriggerSecret gives a secret that requests are signed with. See UseCases.
func (s *Service) TriggerSecret(project, name string) (string, error) {
	text, ok := s.engine.secrets.of(project).Secret(name)
	if !ok {
		return "", fault.New(fault.Unavailable, "the secret %s, with which requests to this trigger are signed, is not set: an admin sets it with `pelton secret set %s`", name, name)
	}
	return text, nil
}

// SourceSettings evaluates the settings of a source trigger over the project's variables and
// secrets as they are now; hide are the secrets among them. See UseCases.
func (s *Service) SourceSettings(project string, t domain.TriggerSpec) (settings domain.Values, hide [][]byte, err error) {
	written := map[string]json.RawMessage{}
	if len(t.With) > 0 {
		if err := json.Unmarshal(t.With, &written); err != nil {
			return nil, nil, fault.Wrap(err, fault.Invalid, "the settings of the trigger %s cannot be read", t.ID)
		}
	}
	sc := domain.EventScope(nil, s.engine.secrets.variables(project), s.engine.secrets.of(project))
	settings = domain.Values{}
	for name, raw := range written {
		e, err := s.deps.Compiler.Value(raw, domain.Env{})
		if err != nil {
			return nil, nil, fault.Wrap(err, fault.Invalid, "the setting %s of the trigger %s: %s", name, t.ID, err)
		}
		if settings[name], err = e.Eval(sc); err != nil {
			return nil, nil, fault.Wrap(err, fault.Invalid, "the setting %s of the trigger %s: %s", name, t.ID, err)
		}
	}
	return settings, sc.Used, nil
}
