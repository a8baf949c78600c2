// A real platform for the tests of the page, in a home and on a port of its own.
import { spawn } from "node:child_process";
import { chmodSync, cpSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const bin = process.env.PELTON_BIN ?? resolve(here, "../../../bin");

const freePort = () =>
  new Promise((done, failed) => {
    const s = createServer();
    s.on("error", failed);
    s.listen(0, "127.0.0.1", () => {
      const { port } = s.address();
      s.close(() => done(port));
    });
  });

export class Platform {
  static async start() {
    const p = new Platform();
    p.dir = mkdtempSync(join(tmpdir(), "pelton-page-"));
    chmodSync(p.dir, 0o755); // as root, actions and the database are other users
    p.home = join(p.dir, "home");
    cpSync(join(here, "fixture"), join(p.dir, "folders"), { recursive: true });
    p.port = await freePort();
    await p.up();
    return p;
  }

  /** Starts it and resolves once it is ready; link is the address that signs in once. */
  async up() {
    this.out = "";
    this.process = spawn(
      join(bin, "pelton"),
      ["dev", join(this.dir, "folders"), "--home", this.home, "--listen", `127.0.0.1:${this.port}`],
      {
        stdio: ["ignore", "pipe", "pipe"],
        detached: true,
      },
    );
    this.ended = new Promise((done) => this.process.on("exit", done));
    await new Promise((done, failed) => {
      const take = (data) => {
        this.out += data;
        const found = /Pelton is ready {3}(\S+)/.exec(this.out);
        if (found) {
          this.link = found[1];
          done();
        }
      };
      this.process.stdout.on("data", take);
      this.process.stderr.on("data", take);
      this.process.on("exit", (code) => failed(new Error(`pelton dev ended with ${code}:\n${this.out}`)));
    });
    this.url = `http://127.0.0.1:${this.port}`;
    this.password ??= /password (\S+)/.exec(this.out)?.[1];
  }

  async down() {
    this.process.kill("SIGINT");
    await this.ended;
  }

  /** Ends the platform as a crash would. */
  async crash() {
    const { pid } = JSON.parse(readFileSync(join(this.home, "run", "server.json"), "utf8"));
    process.kill(pid, "SIGKILL");
    await this.ended;
  }

  async stop() {
    await this.down();
    rmSync(this.dir, { recursive: true, force: true });
  }

  async token() {
    const answer = await fetch(`${this.url}/authorization/v1/login`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ username: "admin", password: this.password }),
    });
    return (await answer.json()).token;
  }

  /** Calls an interface as the admin. */
  async api(method, path, body) {
    this.bearer ??= await this.token();
    const answer = await fetch(this.url + path, {
      method,
      headers: { Authorization: `Bearer ${this.bearer}`, "Content-Type": "application/json" },
      body: body && JSON.stringify(body),
    });
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`);
    return answer.status === 204 ? undefined : answer.json();
  }

  /** Waits until workflows are live. */
  async live(...names) {
    for (const end = Date.now() + 60_000; ;) {
      if (Date.now() > end) throw new Error(`not live after a minute: ${names}\n${this.out}`);
      const { items } = await this.api("GET", "/runner/v1/projects/default/deployments");
      if (names.every((n) => items.some((d) => d.workflow === n && d.state === "live"))) return;
      await new Promise((r) => setTimeout(r, 100));
    }
  }

  async run(workflow, inputs = {}) {
    return (await this.api("POST", "/runner/v1/projects/default/runs", { workflow, inputs })).id;
  }

  /** Waits until a run has ended: its stream says so. */
  async done(id) {
    this.bearer ??= await this.token();
    const answer = await fetch(`${this.url}/runner/v1/projects/default/runs/${id}/events`, {
      headers: { Authorization: `Bearer ${this.bearer}` },
      signal: AbortSignal.timeout(60_000),
    });
    for await (const part of answer.body.pipeThrough(new TextDecoderStream()))
      if (part.includes('"type":"end"')) return;
  }
}
