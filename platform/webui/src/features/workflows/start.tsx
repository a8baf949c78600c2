import {
  Button,
  Drawer,
  FileInput,
  NumberInput,
  PasswordInput,
  Select,
  Stack,
  Switch,
  Text,
  Textarea,
  TextInput,
} from "@mantine/core";
import { useMutation, useQuery } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { call, path, Problem, query, send, textOf } from "../../api/client";
import { deployments } from "../../api/queries";
import type { FileRef, Item, Json, Run } from "../../api/types";
import { Failure, Waiting } from "../../components/basics";
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

/** Also where the page is not a secure context, which crypto.randomUUID needs. */
const newKey = () => `form-${Array.from(crypto.getRandomValues(new Uint32Array(4)), (n) => n.toString(16)).join("-")}`;

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
      for (const [name, file] of Object.entries(form.files)) {
        const url = query(path("runner", project, "files"), { name: file.name });
        const answer = await send("POST", url, file, file.type ? { headers: { "Content-Type": file.type } } : {});
        form.inputs[name] = (await answer.json()) as FileRef as unknown as Json;
      }
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

function Field({ item, value, set, error }: { item: Item; value: Entry; set: (v: Entry) => void; error?: string }) {
  const needed = !item.optional && item.default === undefined && item.type !== "boolean";
  const common = { label: item.title || item.name, description: item.help, error, withAsterisk: needed };
  const text = typeof value === "string" ? value : "";
  switch (item.type) {
    case "boolean":
      return (
        <Switch
          label={common.label}
          description={item.help}
          error={error}
          checked={value === true}
          onChange={(e) => set(e.currentTarget.checked)}
        />
      );
    case "integer":
      return <NumberInput {...common} allowDecimal={false} value={text} onChange={(v) => set(String(v))} />;
    case "float":
      return <NumberInput {...common} value={text} onChange={(v) => set(String(v))} />;
    case "enum":
      return (
        <Select
          {...common}
          data={item.enum_values ?? []}
          value={text || null}
          onChange={(v) => set(v ?? "")}
          clearable={!needed}
        />
      );
    case "password":
      return <PasswordInput {...common} value={text} onChange={(e) => set(e.currentTarget.value)} autoComplete="off" />;
    case "longstring":
      return (
        <Textarea
          {...common}
          autosize
          minRows={3}
          maxRows={14}
          value={text}
          onChange={(e) => set(e.currentTarget.value)}
        />
      );
    case "json":
    case "list":
      return (
        <Textarea
          {...common}
          autosize
          minRows={3}
          maxRows={14}
          value={text}
          styles={{ input: { fontFamily: "var(--mantine-font-family-monospace)" } }}
          placeholder={item.type === "list" ? "[ … ]" : "{ … }"}
          onChange={(e) => set(e.currentTarget.value)}
        />
      );
    case "file":
      return (
        <FileInput
          {...common}
          accept={item.accept?.join(",")}
          value={value instanceof File ? value : null}
          onChange={set}
          placeholder="choose a file"
          clearable
        />
      );
    default:
      return <TextInput {...common} value={text} onChange={(e) => set(e.currentTarget.value)} />;
  }
}
