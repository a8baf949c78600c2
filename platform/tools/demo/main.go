// Command demo proves the whole loop in a temporary home, from a Git repository: start, add,
// scan, build, deploy, post the data, download the report, kill the platform in the middle of
// a second run, restart, and see that run complete. Any failure exits non-zero with the reason.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/pelton-run/pelton/platform/e2e/harness"
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	d := &demo{}
	err := d.run(ctx)
	d.table()
	if d.platform != nil {
		if stop := d.platform.Stop(); err == nil {
			err = stop
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo failed:", err)
		if d.platform != nil {
			fmt.Fprintln(os.Stderr, d.platform.LogTail(30))
		}
		os.Exit(1)
	}
	os.RemoveAll(d.dir)
	fmt.Println("demo passed")
}

type demo struct {
	dir      string
	platform *harness.Platform
	rows     []row
	key      string
}

type row struct {
	what string
	took time.Duration
	note string
}

func (d *demo) step(what string, f func() (string, error)) error {
	start := time.Now()
	note, err := f()
	d.rows = append(d.rows, row{what, time.Since(start), note})
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	fmt.Printf("  %-44s %8.0f ms  %s\n", what, float64(time.Since(start).Microseconds())/1000, note)
	return nil
}

func (d *demo) table() {
	var total time.Duration
	for _, r := range d.rows {
		total += r.took
	}
	fmt.Printf("  %-44s %8.0f ms\n", "all", float64(total.Microseconds())/1000)
}

func (d *demo) run(ctx context.Context) error {
	var err error
	if d.dir, err = os.MkdirTemp("", "pelton-demo-"); err != nil {
		return err
	}
	if err = os.Chmod(d.dir, 0o755); err != nil {
		return err
	}
	repo := filepath.Join(d.dir, "weather")
	csv := filepath.Join(harness.Root(), "functions", "examples", "weather-report", "data", "seattle-weather.csv")
	steps := []struct {
		what string
		f    func() (string, error)
	}{
		{"make a Git repository of the example", func() (string, error) { return gitRepository(ctx, repo) }},
		{"start the platform", func() (string, error) {
			d.platform, err = harness.Start(ctx, harness.Options{Home: filepath.Join(d.dir, "home")})
			if err != nil {
				return "", err
			}
			return d.platform.URL, nil
		}},
		{"create an API key", func() (string, error) { return "", d.createKey(ctx) }},
		{"add and scan the repository, build, deploy", func() (string, error) { return d.addRepository(ctx, repo) }},
		{"post the CSV, wait for the answer", func() (string, error) { return d.post(ctx, csv) }},
		{"kill the platform in the middle of a run", func() (string, error) { return d.crash(ctx, csv) }},
	}
	for _, s := range steps {
		if err := d.step(s.what, s.f); err != nil {
			return err
		}
	}
	return nil
}

func gitRepository(ctx context.Context, dir string) (string, error) {
	src := filepath.Join(harness.Root(), "functions", "examples", "weather-report")
	if err := os.CopyFS(dir, os.DirFS(src)); err != nil {
		return "", err
	}
	for _, args := range [][]string{
		{"init", "-q", "-b", "main"}, {"add", "-A"},
		{"-c", "user.name=demo", "-c", "user.email=demo@example.com", "commit", "-q", "-m", "weather report"},
	} {
		cmd := exec.CommandContext(ctx, "git", args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("git %s: %w: %s", args[0], err, out)
		}
	}
	return "", nil
}

func (d *demo) createKey(ctx context.Context) error {
	var key struct{ Key string }
	err := d.platform.JSON(ctx, http.MethodPost, "/authorization/v1/projects/default/keys", map[string]any{"name": "demo", "role": "operator"}, &key)
	d.key = key.Key
	return err
}

func (d *demo) addRepository(ctx context.Context, dir string) (string, error) {
	err := d.platform.JSON(ctx, http.MethodPost, "/repository/v1/projects/default/repositories",
		map[string]any{"name": "weather", "url": "file://" + dir, "branch": "main", "auto_deploy": true}, nil)
	if err != nil {
		return "", err
	}
	live := make(chan error, 1)
	go func() { live <- d.platform.WaitLive(ctx, "weather-report") }()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-live:
			return d.buildNotes(ctx), err
		case <-tick.C:
			if failed := d.failedBuild(ctx); failed != "" {
				return "", errors.New(failed)
			}
		}
	}
}

type buildItem struct {
	Path, State, Message string
	PhasesMS             map[string]int64 `json:"phases_ms"`
}

func (d *demo) builds(ctx context.Context) []buildItem {
	var list struct{ Items []buildItem }
	_ = d.platform.JSON(ctx, http.MethodGet, "/repository/v1/projects/default/builds?limit=50", nil, &list)
	return list.Items
}

func (d *demo) failedBuild(ctx context.Context) string {
	for _, b := range d.builds(ctx) {
		if b.State == "failed" {
			return fmt.Sprintf("build of %s failed: %s", b.Path, b.Message)
		}
	}
	return ""
}

func (d *demo) buildNotes(ctx context.Context) string {
	var notes []string
	for _, b := range d.builds(ctx) {
		var sum int64
		for _, ms := range b.PhasesMS {
			sum += ms
		}
		notes = append(notes, fmt.Sprintf("%s %d ms", filepath.Base(b.Path), sum))
	}
	return strings.Join(notes, ", ")
}

// call posts the CSV as a multipart form, as a browser or curl -F does.
func (d *demo) call(ctx context.Context, csv string, header map[string]string) (*http.Response, error) {
	data, err := os.ReadFile(csv)
	if err != nil {
		return nil, err
	}
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	part, err := form.CreateFormFile("data", filepath.Base(csv))
	if err != nil {
		return nil, err
	}
	if _, err := part.Write(data); err != nil {
		return nil, err
	}
	if err := form.Close(); err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, d.platform.URL+"/user-api/default/weather/Seattle", &body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", form.FormDataContentType())
	req.Header.Set("Authorization", "Bearer "+d.key)
	for k, v := range header {
		req.Header.Set(k, v)
	}
	return http.DefaultClient.Do(req)
}

func (d *demo) post(ctx context.Context, csv string) (string, error) {
	resp, err := d.call(ctx, csv, nil)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", err
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("answer %d: %s", resp.StatusCode, body)
	}
	return d.download(ctx, body)
}

func (d *demo) download(ctx context.Context, result []byte) (string, error) {
	var answer struct {
		Report struct{ URL string }
	}
	if err := json.Unmarshal(result, &answer); err != nil {
		return "", fmt.Errorf("answer %s: %w", result, err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, answer.Report.URL, nil)
	if err != nil {
		return "", err
	}
	req.Header.Set("Authorization", "Bearer "+d.key)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	html, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", err
	}
	if resp.StatusCode != http.StatusOK || !bytes.Contains(html, []byte("<svg")) {
		return "", fmt.Errorf("report %s: %d with %d bytes and no chart", answer.Report.URL, resp.StatusCode, len(html))
	}
	return fmt.Sprintf("report of %d KiB with %d charts", len(html)/1024, bytes.Count(html, []byte("<svg"))), nil
}

// crash kills the platform while a run is under way. A run that was over before the kill proves
// nothing: then it is done again with another.
func (d *demo) crash(ctx context.Context, csv string) (string, error) {
	for range 5 {
		note, before, err := d.crashOnce(ctx, csv)
		if err != nil || !before.Ended() {
			return note, err
		}
	}
	return "", errors.New("five runs were over before the platform could be killed")
}

func (d *demo) crashOnce(ctx context.Context, csv string) (note string, before harness.Run, err error) {
	resp, err := d.call(ctx, csv, map[string]string{"Prefer": "respond-async"})
	if err != nil {
		return "", before, err
	}
	resp.Body.Close()
	id := resp.Header.Get("Pelton-Run")
	if resp.StatusCode != http.StatusAccepted || id == "" {
		return "", before, fmt.Errorf("asynchronous call: %d, run %q", resp.StatusCode, id)
	}
	// In the middle: the first step is over, the run is not.
	err = harness.Until(ctx, "the first step has completed", func() (bool, error) {
		r, err := d.platform.Run(ctx, id)
		return err == nil && (r.Ended() || (len(r.Steps) > 0 && r.Steps[0].State == "completed")), err
	})
	if err != nil {
		return "", before, err
	}
	before, err = d.platform.Run(ctx, id)
	if err != nil {
		return "", before, err
	}
	d.platform.Kill()
	if err := d.platform.Restart(ctx); err != nil {
		return "", before, fmt.Errorf("restart: %w", err)
	}
	r, err := d.platform.WaitRun(ctx, id)
	if err != nil {
		return "", before, err
	}
	if r.State != "completed" {
		return "", before, fmt.Errorf("run %s after the crash: %s (%+v)", id, r.State, r.Error)
	}
	return fmt.Sprintf("run was %s, completed after the restart", before.State), before, nil
}
