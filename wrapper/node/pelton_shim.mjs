// The language process of Node.js actions: loads a handler and runs executions one after the
// other. Speaks length-prefixed JSON frames (4 bytes, big endian) with the wrapper over file
// descriptor 3; executions ahead lie in a queue, file descriptor 4, of which one is taken at a time.
// Standard library only, Node.js 20 and later.
import { randomUUID } from "node:crypto";
import { readFileSync, readSync, writeSync } from "node:fs";
import net from "node:net";
import path from "node:path";
import { pathToFileURL, fileURLToPath } from "node:url";
import { createRequire } from "node:module";
import { format } from "node:util";

const started = process.hrtime.bigint();
const now = performance.now.bind(performance); // user code may replace what is global
const { cpuUsage, resourceUsage } = process;
const [bundle, , queued] = process.argv.slice(2);
const codeDir = path.join(path.resolve(bundle ?? "."), "code") + path.sep;
const config = JSON.parse(readFileSync(path.join(bundle, "bundle.json"), "utf8"));
const isSource = config.kind === "Source";
const shim = fileURLToPath(import.meta.url);
const maxText = 64 * 1024 * 1024;
// What comes is read into one buffer: a stream would make one of 64 KiB for every message.
const onread = { buffer: Buffer.allocUnsafe(64 * 1024), callback: (size, chunk) => receive(chunk.subarray(0, size)) };
const socket = new net.Socket({ fd: 3, readable: true, writable: true, onread });

// sendText sends one frame: at once where the socket takes it, which costs a fraction of what a stream's write does.
const small = Buffer.allocUnsafe(32 * 1024);
function sendText(text) {
  let frame = small;
  let size = text.length * 3 + 4 <= small.length ? small.write(text, 4) : -1;
  if (size < 0) {
    size = Buffer.byteLength(text);
    frame = Buffer.allocUnsafe(size + 4);
    frame.write(text, 4);
  }
  frame.writeUInt32BE(size);
  let sent = 0;
  if (!socket.writableLength) {
    try {
      sent = writeSync(3, frame, 0, size + 4);
    } catch {
      // it is full or broken: the stream sees to that
    }
  }
  if (sent < size + 4) socket.write(frame === small ? Buffer.from(frame.subarray(sent, size + 4)) : frame.subarray(sent));
}

// take takes the next execution from the queue, null when there is none. An empty queue is an exception to
// readSync, whose stack nobody wants, and which costs as much as the rest of a call.
const taken = Buffer.allocUnsafe(queued ? 32 * 1024 : 0);
let likely = false; // the queue has been of use since it was empty last: where executions come one by one, it never is
let useful = false; // it has been of use since the last start that came by a frame
function take() {
  if (!queued) return null;
  const limit = Error.stackTraceLimit;
  Reflect.set(Error, "stackTraceLimit", 0); // which is false, no exception, where user code froze it
  let n = 0;
  try {
    n = readSync(4, taken);
  } catch (error) {
    if (error.code !== "EAGAIN") throw error;
  } finally {
    Reflect.set(Error, "stackTraceLimit", limit);
  }
  likely = useful ||= n > 0;
  return n > 0 ? JSON.parse(taken.toString("utf8", 0, n)) : null;
}
const send = (message) => sendText(JSON.stringify(message));

let current = null; // the execution under way
let held = null; // taken from the queue, and behind one that comes by a frame

class OutputError extends Error {
  constructor(field, text) {
    super(field ? `${field}: ${text}` : text);
    this.field = field;
    this.text = text;
  }
}

// Lines of console and process.stdout/stderr become log frames, in order with the results.
function capture(name, level) {
  let rest = "";
  const stream = process[name];
  const emit = (line) => send({ t: "log", id: current?.id ?? "", s: name, l: level, m: line });
  stream.write = (chunk, encoding, callback) => {
    const text = typeof chunk === "string" ? chunk : Buffer.from(chunk).toString("utf8");
    const lines = (rest + text).split("\n");
    rest = lines.pop();
    for (const line of lines) emit(line);
    if (typeof encoding === "function") encoding();
    else if (typeof callback === "function") callback();
    return true;
  };
  return () => {
    if (rest) emit(rest);
    rest = "";
  };
}
const flushOut = capture("stdout", "info");
const flushErr = capture("stderr", "error");
const levels = { debug: "debug", log: "info", info: "info", warn: "warn", error: "error", trace: "debug" };
for (const [name, level] of Object.entries(levels)) {
  console[name] = (...args) => {
    const s = level === "error" || level === "warn" ? "stderr" : "stdout";
    const text = name === "trace" ? new Error(format(...args)).stack : format(...args);
    send({ t: "log", id: current?.id ?? "", s, l: level, m: text });
  };
}

// plain makes JSON data of a value and tells the place of what cannot be.
function plain(value, field, depth = 0) {
  if (value === null || typeof value === "string" || typeof value === "boolean") return value;
  if (typeof value === "number") {
    if (!Number.isFinite(value))
      throw new OutputError(field, `is ${value}, which is no number that can be passed on; return a finite number or leave it out`);
    return value;
  }
  if (typeof value === "bigint") return Number(value);
  if (typeof value === "undefined") return null;
  if (depth > 200) throw new OutputError(field, "is nested more than 200 levels deep");
  if (Buffer.isBuffer(value) || value instanceof Uint8Array) return Buffer.from(value).toString("base64");
  if (Array.isArray(value)) return value.map((v) => plain(v, field, depth + 1));
  if (value instanceof Date) return value.toISOString();
  if (value instanceof Map) value = Object.fromEntries(value);
  if (value instanceof Set) return [...value].map((v) => plain(v, field, depth + 1));
  if (typeof value === "object") {
    if (typeof value.toJSON === "function") return plain(value.toJSON(), field, depth + 1);
    const out = {};
    for (const [k, v] of Object.entries(value)) if (v !== undefined) out[k] = plain(v, field, depth + 1);
    return out;
  }
  throw new OutputError(field, `is a ${typeof value}, which cannot be passed on; return strings, numbers, booleans, lists and objects`);
}

function encodeOutputs(kind, id, results, list) {
  const values = results.map((result) => {
    if (result === null || typeof result !== "object" || Array.isArray(result))
      throw new OutputError("", `the handler returned a ${Array.isArray(result) ? "list" : typeof result}: return an object with the outputs, or a list of such objects`);
    const out = {};
    for (const [k, v] of Object.entries(result)) if (v !== undefined) out[k] = plain(v, k);
    return out;
  });
  const text = JSON.stringify({ t: kind, id, v: values, list });
  if (text.length > maxText) {
    const sizes = Object.entries(values[0] ?? {}).map(([k, v]) => [JSON.stringify(v).length, k]);
    const field = sizes.sort((a, b) => b[0] - a[0])[0]?.[1] ?? "";
    throw new OutputError(field, `is too large: all outputs together are ${text.length >> 20} MiB of JSON and the limit is 64; write it to a file and return that`);
  }
  return text;
}

// authorStack leaves out the frames of this file and of Node.js itself.
function authorStack(error) {
  if (typeof error?.stack !== "string") return "";
  return error.stack
    .split("\n")
    .filter((line) => !line.includes(shim) && !line.includes("node:internal"))
    .join("\n")
    .replaceAll(pathToFileURL(codeDir).href, "") // as the author knows the file, not where it lies here
    .replaceAll(codeDir, "");
}

function failure(id, error) {
  if (error instanceof OutputError) return { t: "fail", id, kind: "invalid_output", m: error.message, field: error.field };
  if (error === null || typeof error !== "object") return { t: "fail", id, kind: "user_error", m: String(error) };
  const name = error.name && error.name !== "Error" ? error.name : error.constructor?.name ?? "Error";
  const typed = name === "PeltonError" || name === "RyaxException" || error.constructor?.name === "PeltonError";
  const frame = { t: "fail", id, kind: "user_error", stack: authorStack(error), m: typed ? String(error.message) : `${name}: ${error.message}` };
  if (error.code !== undefined) frame.code = String(error.code);
  if (typeof error.kind === "string" && error.kind) frame.kind = error.kind;
  if (error.retryable === true) frame.retryable = true;
  if (error.details !== undefined) {
    try {
      frame.details = plain(error.details, "details");
    } catch {
      frame.details = String(error.details);
    }
  }
  return frame;
}

async function load() {
  const file = path.join(bundle, config.handler);
  process.chdir(path.dirname(file));
  globalThis.require ??= createRequire(pathToFileURL(file));
  const module = await import(pathToFileURL(file).href);
  const name = isSource ? "run" : "handle";
  const candidates = [module[name], module.default?.[name], module.default?.default, module.default];
  const found = candidates.find((c) => typeof c === "function");
  if (!found && isSource) throw new Error(`${path.basename(file)} exports no source: export async function run(service, inputs) { … }`);
  if (!found) throw new Error(`${path.basename(file)} exports no handler: export const handle = (inputs) => …, export default, or module.exports = fn`);
  return found;
}

// Service is what a source gets as its first parameter: it tells events, each of which starts a run.
class Service {
  #id;
  #seq = 0;
  #stream = randomUUID();
  #waiting = new Map();
  #outputs;

  constructor(start, signal) {
    this.#id = start.id;
    this.#outputs = [...(config.outputs ?? []), ...(start.outputs ?? [])];
    this.cursor = start.cursor ?? null; // the last durable one, null at first
    this.signal = signal;
  }

  get cancelled() {
    return this.signal.aborted;
  }

  // createRun starts a run with these values, and gives its id once the run is durable. With a key, a second event of
  // the same key finds the first one's run. The cursor comes back as service.cursor after a restart.
  async createRun(data = {}, { key, cursor } = {}) {
    const seq = ++this.#seq;
    // Without a key of the author's, one of this stream: a message that is told again after a broken connection is the
    // same event.
    const extra = { seq, key: key === undefined || key === null ? `${this.#stream}#${seq}` : String(key) };
    if (cursor !== undefined && cursor !== null) extra.cursor = plain(cursor, "cursor");
    const text = encodeOutputs("event", this.#id, [data], false);
    return new Promise((resolve, reject) => {
      this.#waiting.set(seq, { resolve, reject });
      sendText(`${text.slice(0, -1)},${JSON.stringify(extra).slice(1)}`);
    });
  }

  createRunError(message = "the source reported an error") {
    send({ t: "log", id: this.#id, s: "logger", l: "error", m: String(message) });
  }

  getOutputDefinitions() {
    return this.#outputs.map((o) => ({ ...o }));
  }

  log(message, level = "info") {
    send({ t: "log", id: this.#id, s: "logger", l: level, m: String(message) });
  }

  acknowledged(message) {
    const told = this.#waiting.get(message.seq);
    this.#waiting.delete(message.seq);
    if (message.run_id) told?.resolve(message.run_id);
    else told?.reject(new Error("the event was refused: the platform's log says why"));
  }
}

// untilCancelled waits for a source; one that does not look at its signal is left where it waits.
function untilCancelled(running, signal) {
  return Promise.race([running, new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason), { once: true }))]);
}

// Execution is what is known of the one under way. Its signal costs more than a brief handler: it is made when it is
// asked for.
class Execution {
  service = null;
  cancelled = false;
  emitted = false; // parts of a list result: a handler that then returns nothing adds none
  #controller = null;

  constructor(id) {
    this.id = id;
  }

  get signal() {
    if (!this.#controller) {
      this.#controller = new AbortController();
      if (this.cancelled) this.#abort();
    }
    return this.#controller.signal;
  }

  cancel() {
    this.cancelled = true;
    if (this.#controller) this.#abort();
  }

  #abort() {
    this.#controller.abort(new Error("the execution was cancelled"));
  }
}

// context is what a handler gets as its second parameter.
function context(execution, c) {
  const id = execution.id;
  return {
    run_id: c.run_id, runId: c.run_id, step: c.step, attempt: c.attempt,
    idempotency_key: c.idempotency_key, idempotencyKey: c.idempotency_key,
    deadline: c.deadline ? new Date(c.deadline) : null,
    workdir: c.workdir, trace: c.trace,
    get signal() { return execution.signal; },
    get cancelled() { return execution.cancelled; },
    log: (message, level = "info") => send({ t: "log", id, s: "logger", l: level, m: String(message) }),
    progress: (fraction, note = "") => send({ t: "progress", id, f: Number(fraction), m: String(note) }),
    emit: (value) => {
      execution.emitted = true;
      sendText(encodeOutputs("out", id, [value], true));
    },
  };
}

const bytesInputs = (config.inputs ?? []).filter((item) => item.type === "bytes").map((item) => item.name);
const micros = (usage) => usage.user + usage.system;
// Processor time up to the end of the execution before, null where the process has waited since. Asking for it is dear, as
// the system adds up all threads: what lies between two executions without a wait is the second one's.
let spent = null;

// execute runs one execution and gives the next one, null when none is there.
async function execute(handle, start, wantsContext) {
  const id = start.id;
  const c = start.ctx ?? {};
  const execution = (current = new Execution(id));
  const service = isSource ? (execution.service = new Service(start, execution.signal)) : null;
  if (c.workdir) {
    process.chdir(c.workdir); // as it is now: libraries that remember the working directory wrap it
    process.env.TMPDIR = `${c.workdir.slice(0, c.workdir.lastIndexOf("/"))}/tmp`;
  }
  const inputs = start.in ?? {};
  for (const name of bytesInputs) if (typeof inputs[name] === "string") inputs[name] = Buffer.from(inputs[name], "base64");
  let frame;
  const begun = now();
  const before = spent ?? micros(cpuUsage());
  try {
    if (service) {
      await untilCancelled(handle(service, inputs), execution.signal);
      frame = JSON.stringify({ t: "done", id });
    } else {
      let result = await (wantsContext ? handle(inputs, context(execution, c)) : handle(inputs));
      if (result === undefined || result === null) result = execution.emitted ? [] : {};
      const list = Array.isArray(result);
      frame = encodeOutputs("result", id, list ? result : [result], list);
    }
  } catch (error) {
    frame = JSON.stringify(execution.cancelled ? { t: "fail", id, kind: "cancelled", m: "the execution was cancelled" } : failure(id, error));
  }
  flushOut();
  flushErr();
  current = null;
  const took = Math.ceil((now() - begun) * 1e3);
  const next = held ?? (likely ? take() : null); // before the end is told: whoever reads that knows whether we wait
  held = null;
  const used = resourceUsage();
  const after = used.userCPUTime + used.systemCPUTime;
  spent = next ? after : null;
  sendText(`${frame.slice(0, -1)},"cpu_us":${after - before},"rss_kb":${used.maxRSS},"us":${took}${next ? ',"q":true' : ""}}`);
  return next;
}

// A handler with a default for its second parameter has the length 1; its text tells.
function ctxWanted(handle) {
  return /^(?:async\s*)?(?:function\s*[\w$]*)?\s*\(\s*(?:\{[^)]*\}|[\w$]+)\s*,\s*[\w${]/.test(Function.prototype.toString.call(handle));
}

process.on("SIGTERM", () => {
  if (current) current.cancel();
});
process.on("uncaughtException", (error) => {
  if (!current) return;
  flushOut();
  flushErr();
  send({ ...failure(current.id, error), kind: "crashed" });
  socket.end(() => process.exit(1));
});
process.on("unhandledRejection", (error) => {
  throw error;
});

const starts = [];
let wake = null;
let partial = null; // a message of which not all has come
let filled = 0;

// receive cuts what comes into messages. They are read where they lie, unless they come in parts.
function receive(chunk) {
  for (let at = 0; at < chunk.length; ) {
    if (!partial) {
      const there = chunk.length - at;
      const whole = there < 4 ? 4 : 4 + chunk.readUInt32BE(at);
      if (there >= whole) {
        deal(JSON.parse(chunk.toString("utf8", at + 4, at + whole)));
        at += whole;
        continue;
      }
      partial = Buffer.allocUnsafe(whole);
      filled = 0;
    }
    const n = chunk.copy(partial, filled, at);
    at += n;
    filled += n;
    if (filled < partial.length) continue;
    const text = partial;
    partial = null;
    if (text.length > 4) deal(JSON.parse(text.toString("utf8", 4)));
    else {
      chunk = Buffer.concat([text, chunk.subarray(at)]); // the size itself came in parts
      at = 0;
    }
  }
  return true;
}

function deal(message) {
  switch (message.t) {
    case "start":
      useful = false;
      starts.push(message);
      wake?.();
      break;
    case "wake": {
      likely = true;
      const next = take();
      if (next?.id === message.id) {
        starts.push(next);
        wake?.();
      } else held ??= next; // that one was taken back meanwhile; this one is behind a start that is on its way
      break;
    }
    case "ack":
      current?.service?.acknowledged(message);
      break;
    case "cancel":
      current?.cancel();
  }
}
socket.on("end", () => process.exit(0));
socket.on("error", () => process.exit(0));

try {
  const handle = await load();
  const wantsContext = handle.length >= 2 || ctxWanted(handle);
  flushOut();
  flushErr();
  send({ t: "ready", load_us: Number((process.hrtime.bigint() - started) / 1000n), threads: 1 });
  for (;;) {
    if (!starts.length) await new Promise((resolve) => (wake = resolve));
    wake = null;
    let start = starts.shift() ?? null;
    for (let k = 1; start; k++) {
      start = await execute(handle, start, wantsContext);
      if (k % 16 === 0) await new Promise(setImmediate); // timers, signals and cancels have their turn
    }
    try {
      process.chdir("/");
    } catch {
      // the working directory may be gone already
    }
  }
} catch (error) {
  flushOut();
  flushErr();
  send({ t: "load_error", m: `${error.name ?? "Error"}: ${error.message ?? error}`, stack: authorStack(error) });
  socket.end(() => process.exit(1));
}
