import { Group, Stack, Table, Text } from "@mantine/core";
import { Link } from "@tanstack/react-router";
import type { Definition, DefinitionStep } from "../../api/types";
import { effectIcon, kindIcon, markIcon } from "./icons";
import { does, settings, written } from "./words";

/** What a step is: its action, conditions and where its inputs come from. */
export function StepDetails({ project, definition, step }: { project: string; definition: Definition; step?: string }) {
  const s = definition.steps.find((x) => x.id === step);
  if (!s)
    return (
      <Text size="sm" c="dimmed">
        Choose a step to see what it is given.
      </Text>
    );
  const Icon = kindIcon(s.kind);
  return (
    <Stack gap="xs" className="panel" p="md">
      <Group gap="sm">
        <Icon size={18} stroke={1.6} />
        <Text fw={600}>{s.title ?? s.id}</Text>
        <Text size="sm">
          <Work project={project} s={s} />
        </Text>
        {s.needs.length > 0 && (
          <Text size="sm" c="dimmed">
            after {s.needs.join(", ")}
          </Text>
        )}
      </Group>
      <Ways s={s} />
      <Settings s={s} />
      {Object.keys(s.with).length > 0 && (
        <Text size="xs" fw={600} c="dimmed" mt={4}>
          Inputs
        </Text>
      )}
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
                  {written(v)}
                </Text>
              </Table.Td>
            </Table.Tr>
          ))}
        </Table.Tbody>
      </Table>
    </Stack>
  );
}

/** What holds for the step, a row each, by its name in the text. */
function Settings({ s }: { s: DefinitionStep }) {
  const all = settings(s);
  if (all.length === 0) return null;
  return (
    <Table withRowBorders={false} verticalSpacing={3} highlightOnHover={false}>
      <Table.Tbody>
        {all.map((x, i) => {
          const Icon = x.kind === "effect" ? effectIcon(s.effect) : markIcon[x.kind];
          return (
            <Table.Tr key={i}>
              <Table.Td w={180}>
                <Group gap={6} wrap="nowrap" c="dimmed">
                  <Icon size={15} stroke={1.7} />
                  <Text size="sm">{x.name}</Text>
                </Group>
              </Table.Td>
              <Table.Td>
                <Text size="sm" style={{ wordBreak: "break-word" }}>
                  {x.words}
                </Text>
              </Table.Td>
            </Table.Tr>
          );
        })}
      </Table.Tbody>
    </Table>
  );
}

/** What the step does, with a link to what it runs. */
function Work({ project, s }: { project: string; s: DefinitionStep }) {
  const action = s.uses.replace(/@.*$/, "");
  if (s.kind === "workflow" && s.workflow)
    return (
      <>
        {s.detach ? "starts workflow " : "runs workflow "}
        <Link to="/$project/workflows/$name" params={{ project, name: s.workflow }}>
          {s.workflow}
        </Link>
        {s.detach && ", and does not wait for its end"}
      </>
    );
  if (s.kind !== "action" || action === "" || action.startsWith("./")) return does(s);
  return (
    <Link to="/$project/library/$action" params={{ project, action }}>
      {s.uses}
    </Link>
  );
}

/** The cases of a switch. */
function Ways({ s }: { s: DefinitionStep }) {
  if (s.kind !== "switch") return null;
  return (
    <Stack gap={2}>
      {(s.cases ?? []).map((c) => (
        <Text key={c.value} size="sm">
          {c.value}: {c.steps.length > 0 ? c.steps.join(", ") : "nothing"}
        </Text>
      ))}
      <Text size="sm">otherwise: {s.default?.join(", ") ?? "nothing"}</Text>
    </Stack>
  );
}
