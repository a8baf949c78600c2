import { Badge, Group, Stack, Table, Text } from "@mantine/core";
import { Link } from "@tanstack/react-router";
import type { Definition, Json } from "../../api/types";

/** What a step is: its action, conditions and where its inputs come from. */
export function StepDetails({ project, definition, step }: { project: string; definition: Definition; step?: string }) {
  const s = definition.steps.find((x) => x.id === step);
  if (!s)
    return (
      <Text size="sm" c="dimmed">
        Choose a step to see what it is given.
      </Text>
    );
  const action = s.uses.replace(/@.*$/, "");
  return (
    <Stack gap="xs" className="panel" p="md">
      <Group gap="sm">
        <Text fw={600}>{s.title ?? s.id}</Text>
        <Text size="sm">
          {action.startsWith("./") ? (
            s.uses
          ) : (
            <Link to="/$project/library/$action" params={{ project, action }}>
              {s.uses}
            </Link>
          )}
        </Text>
        {s.if && (
          <Badge variant="light" color="yellow" tt="none">
            if {s.if}
          </Badge>
        )}
        {s.for_each && (
          <Badge variant="light" tt="none">
            for each of {s.for_each}
          </Badge>
        )}
        {s.needs.length > 0 && (
          <Text size="sm" c="dimmed">
            after {s.needs.join(", ")}
          </Text>
        )}
      </Group>
      <Table withRowBorders={false}>
        <Table.Tbody>
          {Object.entries(s.with).map(([name, v]) => (
            <Table.Tr key={name}>
              <Table.Td w={180}>
                <Text size="sm" fw={500}>
                  {name}
                </Text>
              </Table.Td>
              <Table.Td>
                <Text size="sm" ff="monospace" style={{ wordBreak: "break-word" }}>
                  {text(v)}
                </Text>
              </Table.Td>
            </Table.Tr>
          ))}
        </Table.Tbody>
      </Table>
    </Stack>
  );
}

const text = (v: Json) => (typeof v === "string" ? v : JSON.stringify(v));
