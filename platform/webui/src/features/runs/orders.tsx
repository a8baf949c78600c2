import { Button, Menu } from "@mantine/core";
import { notifications } from "@mantine/notifications";
import { IconCopy, IconPlayerPause, IconPlayerPlay, IconPlayerStop, IconRefresh } from "@tabler/icons-react";
import { useMutation } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { call, path, textOf } from "../../api/client";
import type { Run } from "../../api/types";
import { useMay } from "../../components/frame";
import { newKey } from "../workflows/fields";
import { ended } from "./state";

interface Props {
  project: string;
  run: Run;
}

/** What can be done with a run as a whole. */
export function Orders({ project, run }: Props) {
  const may = useMay("operator");
  if (!may) return null;
  if (ended(run.state))
    return (
      <>
        <Again />
        {run.state !== "completed" && <Retry project={project} run={run} label="Retry" />}
      </>
    );
  return (
    <>
      <Again />
      <PauseOrResume project={project} run={run} />
      <Cancel project={project} run={run} />
    </>
  );
}

/** Opens the form that starts a new run with this one's inputs. */
function Again() {
  const navigate = useNavigate({ from: "/$project/runs/$id" });
  return (
    <Button
      size="xs"
      variant="default"
      leftSection={<IconCopy size={14} />}
      title="Start a new run with these inputs, edited or not"
      onClick={() => void navigate({ search: (s) => ({ ...s, again: true }), replace: true })}
    >
      Run again
    </Button>
  );
}

function useOrder(project: string, run: Run, failed: string) {
  return useMutation({
    mutationFn: (order: string) => call("POST", path("runner", project, "runs", run.id, order)),
    onError: (e) => notifications.show({ color: "red", title: failed, message: textOf(e) }),
  });
}

function PauseOrResume({ project, run }: Props) {
  const order = useOrder(project, run, "That did not work");
  if (run.state === "paused")
    return (
      <Button
        size="xs"
        variant="light"
        leftSection={<IconPlayerPlay size={14} />}
        loading={order.isPending}
        onClick={() => order.mutate("resume")}
      >
        Resume
      </Button>
    );
  if (run.state !== "running" && run.state !== "waiting") return null;
  return (
    <Button
      size="xs"
      variant="default"
      leftSection={<IconPlayerPause size={14} />}
      loading={order.isPending}
      onClick={() => order.mutate("pause")}
      title="What is under way ends, nothing new starts"
    >
      Pause
    </Button>
  );
}

function Cancel({ project, run }: Props) {
  const order = useOrder(project, run, "Not cancelled");
  const over = run.state === "cancelling" || run.state === "undoing";
  return (
    <Button
      size="xs"
      color="red"
      variant="light"
      leftSection={<IconPlayerStop size={14} />}
      loading={order.isPending}
      disabled={over}
      onClick={() => order.mutate("cancel")}
    >
      {run.state === "cancelling" ? "Cancelling…" : "Cancel"}
    </Button>
  );
}

/** Starts a new run that goes on where an ended one failed, or from a step on. */
export function Retry({ project, run, from, label }: Props & { from?: string; label: string }) {
  const may = useMay("operator");
  const navigate = useNavigate();
  const [key] = useState(newKey);
  const retry = useMutation({
    mutationFn: (newest: boolean) =>
      call<Run>("POST", path("runner", project, "runs", run.id, "retry"), {
        from,
        newest,
        idempotency_key: `${key}-${newest}`,
      }),
    onSuccess: (r) => void navigate({ to: "/$project/runs/$id", params: { project, id: r.id } }),
    onError: (e) => notifications.show({ color: "red", title: "Not started", message: textOf(e) }),
  });
  if (!may || !ended(run.state)) return null;
  return (
    <Menu position="bottom-end">
      <Menu.Target>
        <Button size="xs" variant="light" leftSection={<IconRefresh size={14} />} loading={retry.isPending}>
          {label}
        </Button>
      </Menu.Target>
      <Menu.Dropdown>
        <Menu.Label>{from ? `What stands before ${from} is kept` : "What has finished is kept"}</Menu.Label>
        <Menu.Item onClick={() => retry.mutate(false)}>With the revision of this run ({run.revision})</Menu.Item>
        <Menu.Item onClick={() => retry.mutate(true)}>With the live revision</Menu.Item>
      </Menu.Dropdown>
    </Menu>
  );
}
