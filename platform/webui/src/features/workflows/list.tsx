import { Badge, Code, Group, Stack, Table, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useLive } from "../../api/live";
import { workflows } from "../../api/queries";
import type { Workflow } from "../../api/types";
import { Ago, Empty, Failure, Head, StateBadge, Waiting } from "../../components/basics";
import { useProject } from "../../components/frame";
import { DeployActions } from "./deploy";
import { usePaused } from "./pause";
import { split } from "./words";

export function WorkflowsPage() {
  const project = useProject();
  useLive("studio", project);
  const q = useQuery(workflows(project));
  return (
    <>
      <Head title="Workflows" about="What is deployed here, and how it is called." />
      {q.isPending ? (
        <Waiting />
      ) : q.isError ? (
        <Failure error={q.error} retry={() => void q.refetch()} />
      ) : (
        <Rows project={project} items={q.data.items} />
      )}
    </>
  );
}

function Rows({ project, items }: { project: string; items: Workflow[] }) {
  const paused = usePaused(project);
  if (items.length === 0)
    return (
      <Empty title="No workflows yet">
        <Stack gap={4} mt="xs">
          <span>They come from a folder or a Git repository:</span>
          <Code>pelton dev my-folder</Code>
          <Code>pelton repo add https://example.com/team/actions.git</Code>
        </Stack>
      </Empty>
    );
  return (
    <Table.ScrollContainer minWidth={720}>
      <Table className="panel">
        <Table.Thead>
          <Table.Tr>
            <Table.Th>Workflow</Table.Th>
            <Table.Th>Deployment</Table.Th>
            <Table.Th>Called by</Table.Th>
            <Table.Th>Changed</Table.Th>
            <Table.Th />
          </Table.Tr>
        </Table.Thead>
        <Table.Tbody>
          {items.map((w) => (
            <Table.Tr key={w.name}>
              <Table.Td>
                <Link className="row" to="/$project/workflows/$name" params={{ project, name: w.name }}>
                  {w.name}
                </Link>
                <Problems w={w} />
              </Table.Td>
              <Table.Td>
                {w.deployment ? (
                  <Group gap={6}>
                    <StateBadge state={w.deployment.state} title={w.deployment.reason} />
                    {paused[w.name] && <StateBadge state="paused" title={paused[w.name]?.reason} />}
                    <Text size="sm" c="dimmed">
                      revision {split(w.deployment)}
                      {w.deployment.revision !== w.revision && ` (newest is ${w.revision})`}
                    </Text>
                  </Group>
                ) : (
                  <Text size="sm" c="dimmed">
                    not deployed
                  </Text>
                )}
              </Table.Td>
              <Table.Td>
                <Stack gap={0}>
                  {(w.deployment?.endpoints ?? []).map((e) => (
                    <Code key={e.trigger + e.path} bg="transparent" p={0}>
                      {e.method} {e.path}
                    </Code>
                  ))}
                </Stack>
              </Table.Td>
              <Table.Td>{w.updated_at && <Ago at={w.updated_at} />}</Table.Td>
              <Table.Td>
                <DeployActions project={project} workflow={w} compact />
              </Table.Td>
            </Table.Tr>
          ))}
        </Table.Tbody>
      </Table>
    </Table.ScrollContainer>
  );
}

export function Problems({ w }: { w: Workflow }) {
  const errors = w.problems.filter((p) => p.severity === "error").length;
  const warnings = w.problems.length - errors;
  return (
    <Group gap={4} display="inline-flex" ml={8}>
      {errors > 0 && (
        <Badge color="red" size="sm" variant="filled" tt="none">
          {errors} {errors === 1 ? "error" : "errors"}
        </Badge>
      )}
      {warnings > 0 && (
        <Badge color="yellow" size="sm" variant="light" tt="none">
          {warnings} {warnings === 1 ? "warning" : "warnings"}
        </Badge>
      )}
    </Group>
  );
}
