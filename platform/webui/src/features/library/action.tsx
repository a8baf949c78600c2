import { Alert, Badge, Group, Stack, Table, Text, Title } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { getRouteApi } from "@tanstack/react-router";
import { useLive } from "../../api/live";
import { action } from "../../api/queries";
import type { Action, Item } from "../../api/types";
import { Ago, Copyable, Failure, Head, Waiting } from "../../components/basics";
import { bytes, duration, short } from "../../components/format";
import { runtimeName } from "./list";

const route = getRouteApi("/$project/library/$action");

export function ActionPage() {
  const { project, action: id } = route.useParams();
  useLive("studio", project);
  const q = useQuery(action(project, id));
  if (q.isPending) return <Waiting />;
  if (q.isError) return <Failure error={q.error} retry={() => void q.refetch()} />;
  const a = q.data;
  return (
    <>
      <Head title={a.title || a.id} about={a.description}>
        <Badge variant="light" tt="none">
          {a.kind}
        </Badge>
        <Badge variant="outline" color="gray" tt="none">
          {runtimeName[a.runtime] ?? a.runtime}
        </Badge>
        {(a.categories ?? []).map((c) => (
          <Badge key={c} variant="dot" color="gray" tt="none">
            {c}
          </Badge>
        ))}
      </Head>
      <Stack>
        <Copyable label="use it as" text={`uses: ${a.id}@${a.version}`} />
        {(a.notes ?? []).length > 0 && (
          <Alert color="yellow" title="Told when it was read">
            {a.notes!.map((n) => (
              <Text key={n} size="sm">
                {n}
              </Text>
            ))}
          </Alert>
        )}
        <Items title="Inputs" items={a.inputs} />
        <Items title="Outputs" items={a.outputs} />
        <Facts a={a} />
        <Versions a={a} />
      </Stack>
    </>
  );
}

function Items({ title, items }: { title: string; items: Item[] }) {
  return (
    <div>
      <Title order={2} mb={6}>
        {title}
      </Title>
      {items.length === 0 ? (
        <Text c="dimmed" size="sm">
          none
        </Text>
      ) : (
        <Table className="panel">
          <Table.Tbody>
            {items.map((i) => (
              <Table.Tr key={i.name}>
                <Table.Td w={200}>
                  <Text fw={500} size="sm">
                    {i.name}
                  </Text>
                </Table.Td>
                <Table.Td w={150}>
                  <Group gap={6}>
                    <Text size="sm">{i.type}</Text>
                    {i.optional && (
                      <Text size="xs" c="dimmed">
                        optional
                      </Text>
                    )}
                  </Group>
                </Table.Td>
                <Table.Td>
                  <Text size="sm">{[i.title, i.help].filter(Boolean).join(": ")}</Text>
                  {i.default !== undefined && (
                    <Text size="xs" c="dimmed">
                      default {JSON.stringify(i.default)}
                    </Text>
                  )}
                  {i.enum_values && (
                    <Text size="xs" c="dimmed">
                      one of {i.enum_values.join(", ")}
                    </Text>
                  )}
                  {i.accept && (
                    <Text size="xs" c="dimmed">
                      accepts {i.accept.join(", ")}
                    </Text>
                  )}
                </Table.Td>
              </Table.Tr>
            ))}
          </Table.Tbody>
        </Table>
      )}
    </div>
  );
}

function Facts({ a }: { a: Action }) {
  const facts: [string, string][] = [
    ["effect", a.effect ?? ""],
    ["isolation", a.isolation ?? ""],
    ["concurrency", a.concurrency ? String(a.concurrency) : ""],
    ["timeout", a.timeout_ms ? duration(a.timeout_ms) : ""],
    ["CPU", a.cpu ? String(a.cpu) : ""],
    ["memory", a.memory_bytes ? bytes(a.memory_bytes) : ""],
    ["system packages", (a.dependencies ?? []).join(", ")],
    ["folder", a.path],
  ];
  const known = facts.filter(([, v]) => v);
  return (
    <div>
      <Title order={2} mb={6}>
        About
      </Title>
      <Table className="panel">
        <Table.Tbody>
          {known.map(([k, v]) => (
            <Table.Tr key={k}>
              <Table.Td w={200}>
                <Text size="sm" c="dimmed">
                  {k}
                </Text>
              </Table.Td>
              <Table.Td>
                <Text size="sm">{v}</Text>
              </Table.Td>
            </Table.Tr>
          ))}
        </Table.Tbody>
      </Table>
    </div>
  );
}

function Versions({ a }: { a: Action }) {
  return (
    <div>
      <Title order={2} mb={6}>
        Builds
      </Title>
      <Table className="panel">
        <Table.Tbody>
          {(a.versions ?? []).map((v) => (
            <Table.Tr key={v.build}>
              <Table.Td w={120}>{v.version}</Table.Td>
              <Table.Td>
                <Text ff="monospace" size="sm" title={v.build}>
                  {short(v.build)}
                </Text>
              </Table.Td>
              <Table.Td>
                <Text size="sm" c="dimmed">
                  {v.commit && v.commit !== "working-tree" ? `commit ${v.commit.slice(0, 10)}` : "working tree"}
                </Text>
              </Table.Td>
              <Table.Td>
                <Ago at={v.offered_at} />
              </Table.Td>
            </Table.Tr>
          ))}
        </Table.Tbody>
      </Table>
    </div>
  );
}
