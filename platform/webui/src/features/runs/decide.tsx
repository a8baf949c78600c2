import { Button, Group, Modal, Stack, Text, Textarea } from "@mantine/core";
import { notifications } from "@mantine/notifications";
import { IconCheck, IconSend, IconX } from "@tabler/icons-react";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { call, path, Problem, textOf } from "../../api/client";
import { me } from "../../api/queries";
import type { Json, Run, StepRun, StepWait } from "../../api/types";
import { Field, newKey, upload } from "../workflows/fields";
import { collect, type Entries, type Entry, initial } from "../workflows/form";
import { mayDecide } from "./waits";

interface Props {
  project: string;
  run: string;
  step: Pick<StepRun, "step" | "item_path">;
  wait: StepWait;
  /** called once the decision is durable, with the run as it is then */
  done?: (run: Run) => void;
}

/** The form of a decision: what the step asks for, a comment, yes and no. */
export function Decision({ project, run, step, wait, done }: Props) {
  const who = useQuery(me).data;
  const queries = useQueryClient();
  const items = wait.form ?? [];
  const [entries, setEntries] = useState<Entries>(() => initial(items));
  const [errors, setErrors] = useState<Record<string, string>>({});
  const [comment, setComment] = useState("");
  const [key] = useState(newKey); // whatever is clicked twice decides once
  const decide = useMutation({
    mutationFn: async (approved: boolean) => {
      const body: Record<string, unknown> = { step: step.step, item_path: step.item_path, approved };
      if (comment) body.comment = comment;
      if (approved && items.length > 0) {
        const form = collect(items, entries);
        setErrors(form.errors);
        if (Object.keys(form.errors).length > 0) return undefined;
        await upload(project, form);
        body.values = form.inputs;
      }
      body.command_id = `${key}-${approved}`;
      return call<Run>("POST", path("runner", project, "runs", run, "decisions"), body);
    },
    onSuccess: (r, approved) => {
      if (!r) return;
      notifications.show({ color: approved ? "teal" : "gray", message: approved ? "Approved" : "Rejected" });
      void queries.invalidateQueries({ queryKey: ["runner", project] });
      done?.(r);
    },
  });
  const problem = decide.error instanceof Problem ? decide.error : undefined;
  const set = (name: string) => (v: Entry) => setEntries((e) => ({ ...e, [name]: v }));
  if (!mayDecide(wait, who, project))
    return (
      <Text size="sm" c="dimmed">
        {wait.approvers?.length
          ? `${list(wait.approvers)} may decide this.`
          : "Those who may operate runs decide this."}
      </Text>
    );
  return (
    <form
      onSubmit={(e) => {
        e.preventDefault();
        decide.mutate(true);
      }}
    >
      <Stack gap="sm" maw={520}>
        {items.map((i) => (
          <Field
            key={i.name}
            item={i}
            value={entries[i.name] ?? null}
            set={set(i.name)}
            error={errors[i.name] ?? problem?.field(i.name)}
          />
        ))}
        <Textarea
          label="Comment"
          placeholder="kept in the history"
          autosize
          minRows={1}
          maxRows={6}
          value={comment}
          onChange={(e) => setComment(e.currentTarget.value)}
        />
        {decide.isError && (
          <Text c="red" size="sm" style={{ whiteSpace: "pre-wrap" }} role="alert">
            {textOf(decide.error)}
          </Text>
        )}
        <Group gap="xs">
          <Button
            type="submit"
            size="xs"
            color="teal"
            leftSection={<IconCheck size={14} />}
            loading={decide.isPending && decide.variables}
            disabled={decide.isPending}
          >
            Approve
          </Button>
          <Button
            size="xs"
            color="red"
            variant="light"
            leftSection={<IconX size={14} />}
            loading={decide.isPending && !decide.variables}
            disabled={decide.isPending}
            onClick={() => decide.mutate(false)}
          >
            Reject
          </Button>
          {wait.approvers?.length ? (
            <Text size="xs" c="dimmed">
              asked of {list(wait.approvers)}
            </Text>
          ) : null}
        </Group>
      </Stack>
    </form>
  );
}

const list = (approvers: string[]) =>
  approvers.map((a) => (a.startsWith("role:") ? `every ${a.slice(5)}` : a)).join(" or ");

/** Sends a signal with a payload that is written as JSON. */
export function SignalButton({ project, run, name }: { project: string; run: string; name: string }) {
  const queries = useQueryClient();
  const [open, setOpen] = useState(false);
  const [text, setText] = useState("");
  const [key, setKey] = useState(newKey);
  const send = useMutation({
    mutationFn: () => {
      let payload: Json | undefined;
      if (text.trim()) {
        try {
          payload = JSON.parse(text) as Json;
        } catch (e) {
          throw new Error(`The payload is not JSON: ${(e as Error).message}`);
        }
      }
      return call<Run>("POST", path("runner", project, "runs", run, "signals", name), { payload, command_id: key });
    },
    onSuccess: () => {
      setOpen(false);
      setKey(newKey);
      notifications.show({ color: "teal", message: `The run has the signal ${name}` });
      void queries.invalidateQueries({ queryKey: ["runner", project] });
    },
  });
  return (
    <>
      <Button size="xs" variant="light" leftSection={<IconSend size={14} />} onClick={() => setOpen(true)}>
        Send signal
      </Button>
      <Modal opened={open} onClose={() => setOpen(false)} title={<Text fw={600}>Signal {name}</Text>}>
        <form
          onSubmit={(e) => {
            e.preventDefault();
            send.mutate();
          }}
        >
          <Stack>
            <Textarea
              label="Payload"
              description="JSON; left empty it is null. It becomes the output of the step that waits."
              autosize
              minRows={4}
              maxRows={14}
              placeholder="{ … }"
              styles={{ input: { fontFamily: "var(--mantine-font-family-monospace)" } }}
              value={text}
              onChange={(e) => {
                setText(e.currentTarget.value);
                setKey(newKey);
              }}
            />
            {send.isError && (
              <Text c="red" size="sm" style={{ whiteSpace: "pre-wrap" }} role="alert">
                {textOf(send.error)}
              </Text>
            )}
            <Button type="submit" loading={send.isPending}>
              Send
            </Button>
          </Stack>
        </form>
      </Modal>
    </>
  );
}
