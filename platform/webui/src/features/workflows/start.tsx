import { Button, Drawer, Stack, Text } from "@mantine/core";
import { useMutation, useQuery } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { call, path, Problem, textOf } from "../../api/client";
import { deployments } from "../../api/queries";
import type { Item, Run } from "../../api/types";
import { Failure, Waiting } from "../../components/basics";
import { Field, newKey, upload } from "./fields";
import { collect, type Entries, type Entry, initial } from "./form";

/** The form of a live workflow's inputs, made of their types; it starts a run and shows it. */
export function StartDrawer({ project, workflow, close }: { project: string; workflow: string; close: () => void }) {
  const live = useQuery(deployments(project));
  const found = live.data?.items.find((d) => d.workflow === workflow && d.state === "live");
  return (
    <Drawer opened onClose={close} position="right" size="md" title={<Text fw={600}>Start {workflow}</Text>}>
      {live.isPending ? (
        <Waiting />
      ) : live.isError ? (
        <Failure error={live.error} />
      ) : !found ? (
        <Text>It is not live. Deploy it first.</Text>
      ) : (
        <StartForm key={found.id} project={project} workflow={workflow} items={found.inputs} />
      )}
    </Drawer>
  );
}

function StartForm({ project, workflow, items }: { project: string; workflow: string; items: Item[] }) {
  const navigate = useNavigate();
  const [entries, setEntries] = useState<Entries>(() => initial(items));
  const [errors, setErrors] = useState<Record<string, string>>({});
  // One key for every try of the same entries: a second click, or a retry after a cut, starts
  // nothing twice; other entries are another run.
  const [key, setKey] = useState(newKey);
  const start = useMutation({
    mutationFn: async () => {
      const form = collect(items, entries);
      setErrors(form.errors);
      if (Object.keys(form.errors).length > 0) return undefined;
      await upload(project, form);
      return call<Run>("POST", path("runner", project, "runs"), {
        workflow,
        inputs: form.inputs,
        idempotency_key: key,
      });
    },
    onSuccess: (run) => run && void navigate({ to: "/$project/runs/$id", params: { project, id: run.id } }),
  });
  const problem = start.error instanceof Problem ? start.error : undefined;
  const set = (name: string) => (v: Entry) => {
    setEntries((e) => ({ ...e, [name]: v }));
    setKey(newKey);
  };
  return (
    <form
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
        {items.map((i) => (
          <Field
            key={i.name}
            item={i}
            value={entries[i.name] ?? null}
            set={set(i.name)}
            error={errors[i.name] ?? problem?.field(i.name)}
          />
        ))}
        {start.isError && (
          <Text c="red" size="sm" style={{ whiteSpace: "pre-wrap" }} role="alert">
            {textOf(start.error)}
          </Text>
        )}
        <Button type="submit" loading={start.isPending}>
          Start
        </Button>
      </Stack>
    </form>
  );
}
