import { ActionIcon, Button, Group, Menu } from "@mantine/core";
import { notifications } from "@mantine/notifications";
import { IconDotsVertical, IconPlayerPause, IconPlayerPlay, IconPlayerStop, IconRocket } from "@tabler/icons-react";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { call, path, textOf } from "../../api/client";
import type { Workflow } from "../../api/types";
import { useMay } from "../../components/frame";
import { PauseDialog, usePause, usePaused } from "./pause";

/** Deploys, rolls back or undeploys, and brings the lists up to date. */
export function useDeploy(project: string, name: string) {
  const queries = useQueryClient();
  return useMutation({
    mutationFn: (order: { verb: "deploy" | "undeploy" | "rollback"; revision?: number }) =>
      call(
        "POST",
        path("studio", project, "workflows", name, order.verb),
        order.revision ? { revision: order.revision } : undefined,
      ),
    onError: (e) => notifications.show({ color: "red", title: "Not done", message: textOf(e), autoClose: 10_000 }),
    onSettled: () =>
      Promise.all(["studio", "runner"].map((s) => queries.invalidateQueries({ queryKey: [s, project] }))),
  });
}

export function DeployActions({
  project,
  workflow: w,
  compact,
}: {
  project: string;
  workflow: Workflow;
  compact?: boolean;
}) {
  const may = useMay("operator");
  const deploy = useDeploy(project, w.name);
  const resume = usePause(project, w.name);
  const navigate = useNavigate();
  const [pausing, setPausing] = useState(false);
  const paused = usePaused(project)[w.name];
  const live = w.deployment?.state === "live";
  const newest = live && w.deployment?.revision === w.revision;
  if (!may) return null;
  const start = () =>
    void navigate({ to: "/$project/workflows/$name", params: { project, name: w.name }, search: { start: true } });
  return (
    <Group gap={4} wrap="nowrap" justify="flex-end">
      {live && (
        <Button
          size="xs"
          variant={compact ? "light" : "filled"}
          leftSection={<IconPlayerPlay size={14} />}
          disabled={!!paused}
          title={paused && "It is paused"}
          onClick={start}
        >
          Start
        </Button>
      )}
      {!newest && w.revision > 0 && (
        <Button
          size="xs"
          variant="light"
          leftSection={<IconRocket size={14} />}
          loading={deploy.isPending}
          onClick={() => deploy.mutate({ verb: "deploy" })}
        >
          Deploy{live ? ` revision ${w.revision}` : ""}
        </Button>
      )}
      {w.deployment && w.deployment.state !== "stopped" && (
        <Menu position="bottom-end">
          <Menu.Target>
            <ActionIcon variant="subtle" color="gray" aria-label={`more for ${w.name}`}>
              <IconDotsVertical size={16} />
            </ActionIcon>
          </Menu.Target>
          <Menu.Dropdown>
            {live && !paused && (
              <Menu.Item leftSection={<IconPlayerPause size={16} />} onClick={() => setPausing(true)}>
                Pause…
              </Menu.Item>
            )}
            {paused && (
              <Menu.Item leftSection={<IconPlayerPlay size={16} />} onClick={() => resume.mutate({ verb: "resume" })}>
                Resume
              </Menu.Item>
            )}
            <Menu.Item
              color="red"
              leftSection={<IconPlayerStop size={16} />}
              onClick={() => deploy.mutate({ verb: "undeploy" })}
            >
              Undeploy
            </Menu.Item>
          </Menu.Dropdown>
        </Menu>
      )}
      {pausing && <PauseDialog project={project} workflow={w.name} close={() => setPausing(false)} />}
    </Group>
  );
}
