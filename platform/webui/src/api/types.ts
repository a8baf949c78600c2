// What the services answer. The OpenAPI documents are the source; times are RFC 3339 texts.

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

export interface List<T> {
  items: T[];
  next_cursor?: string;
}

export interface Me {
  id: string;
  name: string;
  kind: "user" | "key";
  admin: boolean;
  roles: Record<string, string>;
}

export interface Project {
  name: string;
  role: string;
}

export interface ApiKey {
  id: string;
  name: string;
  prefix: string;
  role: string;
  created_by: string;
  created_at: string;
  expires_at?: string;
  /** only in the answer to its making */
  key?: string;
}

export interface Repository {
  id: string;
  name: string;
  url?: string;
  branch?: string;
  path?: string;
  watch: boolean;
  auto_deploy: boolean;
  created_at: string;
}

export interface FileProblem {
  file: string;
  line?: number;
  column?: number;
  message: string;
  remedy?: string;
  warning?: boolean;
}

export interface ScanEntry {
  path: string;
  id: string;
  version?: string;
  build?: string;
  state: "ok" | "error";
  errors?: FileProblem[];
}

export interface Scan {
  id: string;
  repository_id: string;
  commit: string;
  state: string;
  error?: string;
  actions: ScanEntry[];
  workflows: ScanEntry[];
  started_at: string;
  finished_at: string;
}

export type BuildState = "queued" | "building" | "succeeded" | "failed" | "cancelled";

export interface Build {
  id: string;
  build: string;
  repository: string;
  commit: string;
  path: string;
  action: string;
  state: BuildState;
  kind?: string;
  message?: string;
  host?: string;
  setting?: string;
  file?: string;
  line?: number;
  phases_ms: Record<string, number>;
  notes: string[];
  created_at: string;
  started_at?: string;
  finished_at?: string;
}

export interface Item {
  name: string;
  type: string;
  title?: string;
  help?: string;
  optional?: boolean;
  default?: Json;
  enum_values?: string[];
  accept?: string[];
}

export interface ActionVersion {
  build: string;
  version: string;
  repository: string;
  commit: string;
  path: string;
  offered_at: string;
}

export interface Action {
  id: string;
  version: string;
  kind: "Source" | "Processor" | "Publisher";
  runtime: string;
  title?: string;
  description?: string;
  categories?: string[];
  inputs: Item[];
  outputs: Item[];
  cpu?: number;
  memory_bytes?: number;
  timeout_ms?: number;
  effect?: string;
  isolation?: string;
  concurrency?: number;
  dependencies?: string[];
  notes?: string[];
  build: string;
  repository: string;
  commit: string;
  path: string;
  offered_at: string;
  versions?: ActionVersion[];
}

export interface WorkflowProblem {
  file?: string;
  line: number;
  column: number;
  path?: string;
  message: string;
  proposal?: string;
  severity: "error" | "warning";
}

export interface Endpoint {
  trigger: string;
  method: string;
  path: string;
}

export type DeploymentState = "deploying" | "live" | "failed" | "stopped";

export interface WorkflowDeployment {
  id: string;
  revision: number;
  state: DeploymentState;
  reason?: string;
  endpoints: Endpoint[];
  created_at: string;
}

export interface DefinitionStep {
  id: string;
  title?: string;
  uses: string;
  needs: string[];
  if?: string;
  for_each?: string;
  with: Record<string, Json>;
}

export interface DefinitionTrigger {
  id: string;
  uses: string;
  with?: Json;
}

export interface Definition {
  inputs: Item[];
  triggers: DefinitionTrigger[];
  steps: DefinitionStep[];
  result: string[];
}

export interface Workflow {
  name: string;
  path?: string;
  auto_deploy: boolean;
  problems: WorkflowProblem[];
  deployment?: WorkflowDeployment;
  created_at: string;
  revision: number;
  updated_at?: string;
  yaml?: string;
  definition?: Definition;
}

export interface Revision {
  id: string;
  revision: number;
  created_at: string;
  yaml?: string;
  definition?: Definition;
}

export interface Deployment {
  id: string;
  workflow: string;
  revision: number;
  state: DeploymentState;
  reason?: string;
  triggers: DefinitionTrigger[];
  inputs: Item[];
}

export type RunState =
  "queued" | "running" | "waiting" | "paused" | "cancelling" | "undoing" | "completed" | "failed" | "cancelled";
export type StepState = "pending" | "queued" | "running" | "waiting" | "completed" | "failed" | "skipped" | "cancelled";
export type AttemptState = "started" | "completed" | "failed" | "lost" | "cancelled";

export interface StepError {
  kind: string;
  message: string;
  code?: string;
  step?: string;
  stack?: string;
  field?: string;
  details?: Json;
  retryable?: boolean;
}

export interface Phase {
  kind: string;
  at: string;
}

export interface Attempt {
  number: number;
  state: AttemptState;
  execution: string;
  instance?: string;
  started_at?: string;
  finished_at?: string;
  phases: Phase[];
  error?: StepError;
  usage?: Record<string, number>;
  progress: number;
  note?: string;
}

export interface StepRun {
  step: string;
  title?: string;
  uses?: string;
  item_path: number[];
  state: StepState;
  reason?: string;
  items: number;
  started_at?: string;
  finished_at?: string;
  inputs?: Record<string, Json>;
  outputs?: Json;
  list?: boolean;
  error?: StepError;
  attempts: Attempt[];
}

export interface Run {
  id: string;
  workflow: string;
  revision?: number;
  deployment?: string;
  state: RunState;
  trigger: { kind: string; id?: string };
  created_at: string;
  finished_at?: string;
  error?: StepError;
  inputs?: Record<string, Json>;
  result?: Record<string, Json>;
  steps?: StepRun[];
}

export interface LogRecord {
  cursor: number;
  step: string;
  item_path: number[];
  attempt: number;
  stream: string;
  level: string;
  at: string;
  line: string;
  dropped?: number;
}

export interface LogPage {
  items: LogRecord[];
  next: number;
  more: boolean;
  ended: boolean;
}

export interface RunEvent {
  type: "snapshot" | "run" | "step" | "attempt" | "phase" | "progress" | "log" | "resync" | "end";
  run?: Run;
  step?: string;
  item_path?: number[];
  step_run?: StepRun;
  attempt?: Attempt;
  log?: LogRecord;
}

export interface ProjectEvent {
  type: "run_started" | "run_finished" | "log" | "resync";
  run?: Run;
  run_id?: string;
  workflow?: string;
}

export interface Named {
  name: string;
  value?: Json;
  updated_at: string;
}

/** A file or directory by reference. */
export interface FileRef {
  $file?: string;
  $dir?: string;
  size: number;
  name: string;
  type?: string;
}

export interface FieldProblem {
  field: string;
  message: string;
  remedy?: string;
  line?: number;
  column?: number;
}

export interface ProblemDetails {
  type?: string;
  title: string;
  status: number;
  detail?: string;
  code?: string;
  run?: string;
  errors?: FieldProblem[];
}
