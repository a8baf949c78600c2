// What the services answer, by the names that the page uses. The shapes are generated from the
// OpenAPI documents (npm run generate).
import type { components as authorization } from "./generated/authorization";
import type { components as repository } from "./generated/repository";
import type { components as runner } from "./generated/runner";
import type { components as studio } from "./generated/studio";

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

export interface List<T> {
  items: T[];
  next_cursor?: string;
}

/** The generated shape with any-JSON fields as Json. */
type With<T, F> = Omit<T, keyof F> & F;
type Auth = authorization["schemas"];
type Repo = repository["schemas"];
type Studio = studio["schemas"];
type Runner = runner["schemas"];

export type Me = Auth["Caller"];
export type Project = Auth["Project"];
export type ApiKey = Auth["Key"];

export type Repository = Repo["Repository"];
export type FileProblem = Repo["Location"];
export type ScanEntry = Repo["Found"];
export type Scan = Repo["Scan"];
export type Build = Repo["Build"];
export type BuildState = Repo["BuildState"];

/** An input or output, of an action, a workflow or a deployment. */
export type Item = With<Studio["Item"], { default?: Json; schema?: Json }>;
export type ActionVersion = Studio["ActionBuild"];
export type Action = With<Studio["Action"], { inputs: Item[]; outputs: Item[] }>;
export type WorkflowProblem = Studio["WorkflowProblem"];
export type Endpoint = Studio["Endpoint"];
export type DeploymentState = Studio["DeploymentState"];
export type WorkflowDeployment = Studio["Deployment"];
export type Question = With<Studio["Approval"], { title?: Json }>;
export type DefinitionWait = With<Studio["Wait"], { for?: Json; until?: Json; approval?: Question }>;
export type Catch = With<Studio["Catch"], { outputs?: Json }>;
export type Limit = With<Studio["Limit"], { key?: Json }>;
export type Policies = With<
  Studio["Policies"],
  { idempotency_key?: Json; concurrency?: Limit; rate_limit?: With<Studio["RateLimit"], { key?: Json }> }
>;
export type DefinitionStep = With<
  Studio["Step"],
  {
    with: Record<string, Json>;
    wait?: DefinitionWait;
    approval?: Question;
    catch?: Catch[];
    cache?: With<Studio["Cache"], { key: Json }>;
    concurrency?: Limit;
  }
>;
export type DefinitionTrigger = With<Studio["Trigger"], { with?: Json }>;
export type Definition = With<
  Studio["Definition"],
  { inputs: Item[]; triggers: DefinitionTrigger[]; steps: DefinitionStep[]; policies?: Policies }
>;
export type Workflow = With<Studio["Workflow"], { definition?: Definition }>;
export type Revision = With<Studio["Revision"], { definition?: Definition }>;

export type Deployment = With<Runner["Deployment"], { inputs: Item[] }>;
export type RunState = Runner["RunState"];
export type StepState = Runner["StepState"];
export type AttemptState = Runner["AttemptState"];
export type StepError = With<Runner["StepError"], { details?: Json; retryable?: boolean }>;
export type Phase = Runner["Phase"];
export type Attempt = With<Runner["Attempt"], { error?: StepError; usage?: Partial<Runner["Usage"]> }>;
export type StepWait = With<Runner["StepWait"], { form?: Item[] }>;
export type RunWait = Runner["Wait"];
export type StepRun = With<
  Runner["StepRun"],
  { inputs?: Record<string, Json>; outputs?: Json; error?: StepError; attempts: Attempt[]; wait?: StepWait }
>;
export type Run = With<
  Runner["Run"],
  {
    inputs?: Record<string, Json>;
    result?: Record<string, Json>;
    error?: StepError;
    steps?: StepRun[];
    wait?: StepWait;
  }
>;
export type OutputPart = With<Runner["OutputPart"], { values: Record<string, Json> }>;
export type LogRecord = Runner["LogRecord"];
export type LogPage = Runner["LogPage"];
export type RunEvent = With<
  Runner["RunEvent"],
  { run?: Run; step_run?: StepRun; attempt?: Attempt; output?: OutputPart }
>;
export type ProjectEvent = Runner["ProjectEvent"];
export type Cost = Runner["Cost"];
export type CostRow = Runner["CostRow"];
export type Failure = Runner["Failure"];
export type Schedule = Runner["Schedule"];
export type Bulk = Runner["Bulk"];
export type BulkKind = Runner["BulkRequest"]["kind"];
export type Named = { name: string; value?: Json; updated_at: string };

/** A file or directory by reference. */
export type FileRef = Runner["FileReference"] & { $dir?: string };

export type FieldProblem = Runner["ProblemField"];
export type ProblemDetails = Omit<Runner["Problem"], "type"> & { type?: string };
