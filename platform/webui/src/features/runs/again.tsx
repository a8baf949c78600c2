import { Button, Drawer, Group, SegmentedControl, Stack, Text } from "@mantine/core";
import { useMutation, useQuery } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { call, path, Problem, textOf } from "../../api/client";
import { deployments, revision } from "../../api/queries";
import type { Item, Run } from "../../api/types";
import { Failure, Waiting } from "../../components/basics";
import { Field, newKey, upload } from "../workflows/fields";
import { collect, type Entries, type Entry } from "../workflows/form";
import { asKept, changes, edited, keptWords } from "./edited";

/** Starts a new run with the inputs of an earlier one, some of them edited. */
export function AgainDrawer({ project, run, close }: { project: string; run: Run; close: () => void }) {
  const [same, setSame] = useState(false);
  const live = useQuery(deployments(project));
  const old = useQuery(revision(project, run.workflow, run.revision ?? 0));
  const found = live.data?.items.find((d) => d.workflow === run.workflow && d.state === "live");
  const isSame = same || !found;
  const items = isSame ? old.data?.definition?.inputs : found.inputs;
  return (
    <Drawer opened onClose={close} position="right" size="md" title={<Text fw={600}>Run {run.workflow} again</Text>}>
      {live.isPending || old.isPending ? (
        <Waiting />
      ) : live.isError ? (
        <Failure error={live.error} />
      ) : !items ? (
        <Failure error={old.error ?? new Error("The inputs of that revision are not known.")} />
      ) : (
        <Stack>
          {found && found.revision !== run.revision && (
            <Group gap="sm">
              <Text size="sm">with revision</Text>
              <SegmentedControl
                size="xs"
                data={[
                  { value: "live", label: `${found.revision}, which is live` },
                  { value: "same", label: `${run.revision}, of this run` },
                ]}
                value={isSame ? "same" : "live"}
                onChange={(v) => setSame(v === "same")}
              />
            </Group>
          )}
          <AgainForm key={String(isSame)} project={project} run={run} items={items} same={isSame} />
        </Stack>
      )}
    </Drawer>
  );
}

function AgainForm({ project, run, items, same }: { project: string; run: Run; items: Item[]; same: boolean }) {
  const navigate = useNavigate();
  const before = run.inputs ?? {};
  const [entries, setEntries] = useState<Entries>(() => edited(items, before));
  const [errors, setErrors] = useState<Record<string, string>>({});
  const [key, setKey] = useState(newKey); // other entries are another run
  const start = useMutation({
    mutationFn: async () => {
      const form = collect(
        items.filter((i) => !keptWords(i, before[i.name])?.fixed).map((i) => asKept(i, before[i.name])),
        entries,
      );
      setErrors(form.errors);
      if (Object.keys(form.errors).length > 0) return undefined;
      await upload(project, form);
      return call<Run>("POST", path("runner", project, "runs", run.id, "again"), {
        inputs: changes(items, before, form.inputs),
        same_revision: same,
        idempotency_key: key,
      });
    },
    onSuccess: (r) => r && void navigate({ to: "/$project/runs/$id", params: { project, id: r.id } }),
  });
  const problem = start.error instanceof Problem ? start.error : undefined;
  const set = (name: string) => (v: Entry) => {
    setEntries((e) => ({ ...e, [name]: v }));
    setKey(newKey);
  };
  return (
    <form
      noValidate
      onSubmit={(e) => {
        e.preventDefault();
        start.mutate();
      }}
    >
      <Stack>
        {items.length === 0 && (
          <Text size="sm" c="dimmed">
            It takes no inputs.
          </Text>
        )}
        {items.map((i) => {
          const kept = keptWords(i, before[i.name]);
          if (kept?.fixed)
            return (
              <div key={i.name}>
                <Text size="sm" fw={500}>
                  {i.title || i.name}
                </Text>
                <Text size="sm" c="dimmed">
                  {kept.words}
                </Text>
              </div>
            );
          return (
            <Field
              key={i.name}
              item={kept ? { ...i, optional: true, help: [i.help, kept.words].filter(Boolean).join(" ") } : i}
              value={entries[i.name] ?? null}
              set={set(i.name)}
              error={errors[i.name] ?? problem?.field(i.name)}
            />
          );
        })}
        {start.isError && (
          <Text c="red" size="sm" style={{ whiteSpace: "pre-wrap" }} role="alert">
            {textOf(start.error)}
          </Text>
        )}
        <Button type="submit" loading={start.isPending}>
          Run again
        </Button>
      </Stack>
    </form>
  );
}
