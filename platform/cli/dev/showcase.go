package dev

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// showcase waits for the weather-report example, starts one real run of it with the CSV that
// lies beside it, prints its step table, and says how to go on.
func (s session) showcase(ctx context.Context, p *printer) error {
	const workflow = "weather-report"
	csv := filepath.Join(s.Dir, workflow, "data", "seattle-weather.csv")
	if _, err := os.Stat(csv); err != nil {
		return err
	}
	key, err := s.apiKey(ctx)
	if err != nil {
		return err
	}
	if err := s.live(ctx, workflow, workflow); err != nil {
		return err
	}
	fmt.Fprintf(s.Out, "\nA real run of %s, with %s\n", workflow, rel(csv))
	answer, run, err := s.post(ctx, csv, key)
	if err != nil {
		return err
	}
	if err := s.table(ctx, run); err != nil {
		return err
	}
	var result struct{ Report struct{ URL string } }
	if err := json.Unmarshal(answer, &result); err != nil || result.Report.URL == "" {
		return fmt.Errorf("the answer has no report: %s", answer)
	}
	path, err := s.keep(ctx, result.Report.URL, key)
	if err != nil {
		return err
	}
	fmt.Fprintf(s.Out, "  report    %s\n            %s\n", rel(path), result.Report.URL)
	s.ready(ctx, key)
	return nil
}

// ready prints the last lines: where to look, what to call and to change.
func (s session) ready(ctx context.Context, key string) {
	fmt.Fprintf(s.Out, "\nPelton is ready   %s\n", s.client.page(ctx))
	csv := rel(filepath.Join(s.Dir, "weather-report", "data", "seattle-weather.csv"))
	if key != "" {
		fmt.Fprintf(s.Out, "  call it   curl -fF data=@%s -H 'Authorization: Bearer %s' %s/user-api/%s/weather/Seattle\n", csv, key, s.client.url, s.Project)
		fmt.Fprintf(s.Out, "  change it %s, save, call again\n", rel(filepath.Join(s.Dir, "weather-report", "actions", "monthly", "handler.py")))
	}
	fmt.Fprintf(s.Out, "  look      ./bin/pelton run list        stop: Ctrl-C   data: %s\n", dot(rel(s.home)))
}

// apiKey is the key of this home's examples: made once, kept beside the data for its owner alone.
func (s session) apiKey(ctx context.Context) (string, error) {
	file := filepath.Join(s.home, "run", "examples.key")
	if data, err := os.ReadFile(file); err == nil {
		key := strings.TrimSpace(string(data))
		probe := client{s.client.url, key}
		if err := probe.json(ctx, http.MethodGet, "/authorization/v1/me", nil, nil); err == nil {
			return key, nil
		}
	}
	var made struct{ Key string }
	err := s.client.json(ctx, http.MethodPost, "/authorization/v1/projects/"+url.PathEscape(s.Project)+"/keys",
		map[string]any{"name": "examples", "role": "operator"}, &made)
	if err != nil {
		return "", err
	}
	return made.Key, os.WriteFile(file, []byte(made.Key+"\n"), 0o600)
}

// live waits until the workflow is deployed, or tells which build of its repository failed. Only
// the newest build of an action counts, once a scan of now has ordered what is missing.
func (s session) live(ctx context.Context, workflow, repository string) error {
	r, found, err := s.repository(ctx, repository)
	if err != nil || !found {
		return errors.Join(err, fmt.Errorf("the repository %s is not there", repository))
	}
	project := url.PathEscape(s.Project)
	var scan struct {
		Error              string
		Actions, Workflows []struct{ Path, State string }
	}
	if err := s.client.json(ctx, http.MethodPost, "/repository/v1/projects/"+project+"/repositories/"+url.PathEscape(r.ID)+"/scans", nil, &scan); err != nil {
		return err
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		if live, err := s.deployed(ctx, workflow); live || err != nil {
			return err
		}
		if scan.Error != "" {
			return errors.New(scan.Error)
		}
		for _, e := range slices.Concat(scan.Actions, scan.Workflows) {
			if e.State == "error" {
				return fmt.Errorf("%s has errors, which are told above: mend it and save", e.Path)
			}
		}
		var builds struct {
			Items []struct{ Repository, Path, State string }
		}
		if err := s.client.json(ctx, http.MethodGet, "/repository/v1/projects/"+project+"/builds?limit=100", nil, &builds); err != nil {
			return err
		}
		newest := map[string]bool{}
		for _, b := range builds.Items {
			if b.Repository != repository || newest[b.Path] {
				continue
			}
			if newest[b.Path] = true; b.State == "failed" {
				return fmt.Errorf("the build of %s failed, as told above: mend that, and save or start again", b.Path)
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// deployed tells whether a workflow is live; a deployment that failed is an error.
func (s session) deployed(ctx context.Context, workflow string) (bool, error) {
	var deployments struct {
		Items []struct{ Workflow, State, Reason string }
	}
	if err := s.client.json(ctx, http.MethodGet, "/runner/v1/projects/"+url.PathEscape(s.Project)+"/deployments?limit=200", nil, &deployments); err != nil {
		return false, err
	}
	for _, d := range deployments.Items {
		if d.Workflow != workflow {
			continue
		}
		switch d.State {
		case "live":
			return true, nil
		case "failed":
			return false, errors.New(d.Reason)
		}
	}
	return false, nil
}

// post calls the HTTP trigger as the printed curl line does.
func (s session) post(ctx context.Context, csv, key string) (answer []byte, run string, err error) {
	data, err := os.ReadFile(csv)
	if err != nil {
		return nil, "", err
	}
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	part, err := form.CreateFormFile("data", filepath.Base(csv))
	if err != nil {
		return nil, "", err
	}
	if _, err := part.Write(data); err != nil {
		return nil, "", err
	}
	if err := form.Close(); err != nil {
		return nil, "", err
	}
	resp, err := client{s.client.url, key}.do(ctx, http.MethodPost, "/user-api/"+url.PathEscape(s.Project)+"/weather/Seattle", form.FormDataContentType(), &body)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(resp.Body)
	return answer, resp.Header.Get("Pelton-Run"), err
}

type attempt struct {
	State  string
	Phases []struct {
		Kind string
		At   time.Time
	}
	StartedAt  time.Time `json:"started_at"`
	FinishedAt time.Time `json:"finished_at"`
}

// table prints the steps of a run: state, attempts, and where the time went.
func (s session) table(ctx context.Context, run string) error {
	var r struct {
		State      string
		CreatedAt  time.Time `json:"created_at"`
		FinishedAt time.Time `json:"finished_at"`
		Steps      []struct {
			Step     string
			ItemPath []int `json:"item_path"`
			State    string
			Attempts []attempt
		}
	}
	if err := s.client.json(ctx, http.MethodGet, "/runner/v1/projects/"+url.PathEscape(s.Project)+"/runs/"+url.PathEscape(run), nil, &r); err != nil {
		return err
	}
	w := tabwriter.NewWriter(s.Out, 2, 2, 2, ' ', 0)
	fmt.Fprintln(w, "  STEP\tSTATE\tATTEMPTS\tQUEUE\tBOOT\tLOAD\tRUN\tALL\t")
	for _, st := range r.Steps {
		name := st.Step
		for _, i := range st.ItemPath {
			name += fmt.Sprintf("[%d]", i)
		}
		if len(st.Attempts) == 0 {
			fmt.Fprintf(w, "  %s\t%s\t0\t\t\t\t\t\t\n", name, st.State)
			continue
		}
		a := st.Attempts[len(st.Attempts)-1]
		at := map[string]time.Time{}
		for _, p := range a.Phases {
			at[p.Kind] = p.At
		}
		span := func(from, to time.Time) string {
			if from.IsZero() || to.IsZero() || to.Before(from) {
				return ""
			}
			return fmt.Sprintf("%.0f ms", float64(to.Sub(from).Microseconds())/1000)
		}
		fmt.Fprintf(w, "  %s\t%s\t%d\t%s\t%s\t%s\t%s\t%s\t\n", name, st.State, len(st.Attempts),
			span(a.StartedAt, at["scheduled"]), span(at["scheduled"], at["booted"]), span(at["booted"], at["loaded"]),
			span(at["started"], a.FinishedAt), span(a.StartedAt, a.FinishedAt))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(s.Out, "  run %s %s in %d ms\n", run, r.State, r.FinishedAt.Sub(r.CreatedAt).Milliseconds())
	return nil
}

// keep stores the report beside the data, for people who look at files.
func (s session) keep(ctx context.Context, link, key string) (string, error) {
	u, err := url.Parse(link)
	if err != nil {
		return "", err
	}
	resp, err := client{s.client.url, key}.do(ctx, http.MethodGet, u.RequestURI(), "", nil)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", err
	}
	path := filepath.Join(s.home, "weather-report.html")
	return path, os.WriteFile(path, data, 0o644)
}

// rel shortens a path below the current folder.
func rel(path string) string {
	wd, err := os.Getwd()
	if err != nil {
		return path
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return path
	}
	if r, err := filepath.Rel(wd, abs); err == nil && !strings.HasPrefix(r, "..") {
		return r
	}
	return abs
}

func dot(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return "./" + path
}
