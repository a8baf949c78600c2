import { Alert, Button, Group, Modal, Stack, Text, TextInput } from "@mantine/core";
import { notifications } from "@mantine/notifications";
import { IconPlayerPause, IconPlayerPlay } from "@tabler/icons-react";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { call, path, Problem, textOf } from "../../api/client";
import { deployments } from "../../api/queries";
import type { Deployment } from "../../api/types";
import { Ago } from "../../components/basics";
import { useMay } from "../../components/frame";

type Pause = NonNullable<Deployment["paused"]>;

/** The workflows that start no runs for now. Somebody else's pause is seen within 15 s. */
export function usePaused(project: string): Record<string, Pause> {
  const q = useQuery({ ...deployments(project), refetchInterval: 15_000 });
  return Object.fromEntries(
    (q.data?.items ?? []).flatMap((d) => (d.state === "live" && d.paused ? [[d.workflow, d.paused]] : [])),
  );
}

/** Pauses and resumes a workflow; what refuses is told in a notification. */
export function usePause(project: string, workflow: string, done?: () => void) {
  const queries = useQueryClient();
  return useMutation({
    mutationFn: (order: { verb: "pause" | "resume"; reason?: string }) =>
      call(
        "POST",
        path("runner", project, "workflows", workflow, order.verb),
        order.reason ? { reason: order.reason } : {},
      ),
    onSuccess: async () => {
      await queries.invalidateQueries({ queryKey: ["runner", project] });
      done?.();
    },
    onError: (e, order) =>
      order.verb === "resume" && notifications.show({ color: "red", title: "Not resumed", message: textOf(e) }),
  });
}

/** Says that a workflow is paused, since when and why, and ends the pause. */
export function Paused({ project, workflow, paused }: { project: string; workflow: string; paused: Pause }) {
  const may = useMay("operator");
  const order = usePause(project, workflow);
  return (
    <Alert color="yellow" icon={<IconPlayerPause size={18} />} title="It is paused and starts no runs" data-paused>
      <Group justify="space-between" align="flex-end">
        <Text size="sm" component="div">
          {paused.reason ? `${paused.reason} · ` : ""}since <Ago at={paused.since} />. Runs under way go on; its
          schedules and sources rest, and callers are told to come again.
        </Text>
        {may && (
          <Button
            size="xs"
            leftSection={<IconPlayerPlay size={14} />}
            loading={order.isPending}
            onClick={() => order.mutate({ verb: "resume" })}
          >
            Resume
          </Button>
        )}
      </Group>
    </Alert>
  );
}

/** Asks why, and pauses. */
export function PauseDialog({ project, workflow, close }: { project: string; workflow: string; close: () => void }) {
  const [reason, setReason] = useState("");
  const order = usePause(project, workflow, close);
  const error = order.error instanceof Problem ? order.error.field("reason") : undefined;
  return (
    <Modal opened onClose={close} title={<Text fw={600}>Pause {workflow}</Text>}>
      <form
        onSubmit={(e) => {
          e.preventDefault();
          order.mutate({ verb: "pause", reason: reason.trim() });
        }}
      >
        <Stack>
          <Text size="sm" c="dimmed">
            It starts no runs until it is resumed, whatever revision is live. Runs under way go on.
          </Text>
          <TextInput
            label="Reason"
            placeholder="for those who find it paused"
            data-autofocus
            value={reason}
            error={error}
            onChange={(e) => setReason(e.currentTarget.value)}
          />
          {order.isError && !error && (
            <Text c="red" size="sm" role="alert">
              {textOf(order.error)}
            </Text>
          )}
          <Group justify="flex-end" gap="xs">
            <Button size="xs" variant="default" onClick={close}>
              Leave it
            </Button>
            <Button size="xs" type="submit" leftSection={<IconPlayerPause size={14} />} loading={order.isPending}>
              Pause
            </Button>
          </Group>
        </Stack>
      </form>
    </Modal>
  );
}
