import {
  ActionIcon,
  Button,
  Group,
  PasswordInput,
  Stack,
  Table,
  Text,
  Textarea,
  TextInput,
  Title,
} from "@mantine/core";
import { notifications } from "@mantine/notifications";
import { IconTrash } from "@tabler/icons-react";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { call, path, Problem, textOf } from "../../api/client";
import { secrets, variables } from "../../api/queries";
import type { Json, Named } from "../../api/types";
import { Ago, Failure, Head, Waiting } from "../../components/basics";
import { useMay, useProject } from "../../components/frame";
import { brief } from "../../components/format";

type Kind = "secrets" | "variables";

export function SecretsPage() {
  return (
    <>
      <Head
        title="Secrets & variables"
        about="What expressions read as secrets.NAME and vars.NAME. A secret's value never leaves the server again; it is masked in everything that runs print."
      />
      <Stack gap="xl">
        <Names kind="secrets" title="Secrets" />
        <Names kind="variables" title="Variables" />
      </Stack>
    </>
  );
}

function Names({ kind, title }: { kind: Kind; title: string }) {
  const project = useProject();
  const may = useMay("developer");
  const q = useQuery(kind === "secrets" ? secrets(project) : variables(project));
  const queries = useQueryClient();
  const remove = useMutation({
    mutationFn: (name: string) => call("DELETE", path("runner", project, kind, name)),
    onError: (e) => notifications.show({ color: "red", title: "Not removed", message: textOf(e) }),
    onSettled: () => queries.invalidateQueries({ queryKey: ["runner", project, kind] }),
  });
  return (
    <div>
      <Title order={2} mb="xs">
        {title}
      </Title>
      {may && <Set project={project} kind={kind} />}
      {q.isPending ? (
        <Waiting />
      ) : q.isError ? (
        <Failure error={q.error} />
      ) : q.data.items.length === 0 ? (
        <Text size="sm" c="dimmed" mt="xs">
          none yet
        </Text>
      ) : (
        <Table className="panel" mt="sm">
          <Table.Tbody>
            {q.data.items.map((s: Named) => (
              <Table.Tr key={s.name}>
                <Table.Td w={240}>
                  <Text ff="monospace" size="sm">
                    {s.name}
                  </Text>
                </Table.Td>
                <Table.Td>
                  <Text size="sm" c="dimmed">
                    {kind === "secrets" ? "•••" : brief(s.value)}
                  </Text>
                </Table.Td>
                <Table.Td>
                  set <Ago at={s.updated_at} />
                </Table.Td>
                <Table.Td ta="right">
                  {may && (
                    <ActionIcon
                      variant="subtle"
                      color="red"
                      aria-label={`remove ${s.name}`}
                      onClick={() => remove.mutate(s.name)}
                    >
                      <IconTrash size={16} />
                    </ActionIcon>
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

function Set({ project, kind }: { project: string; kind: Kind }) {
  const [name, setName] = useState("");
  const [value, setValue] = useState("");
  const queries = useQueryClient();
  const set = useMutation({
    mutationFn: () =>
      call("PUT", path("runner", project, kind, name.trim()), { value: kind === "secrets" ? value : parse(value) }),
    onSuccess: () => {
      setName("");
      setValue("");
      void queries.invalidateQueries({ queryKey: ["runner", project, kind] });
    },
  });
  const problem = set.error instanceof Problem ? set.error : undefined;
  return (
    <form
      onSubmit={(e) => {
        e.preventDefault();
        set.mutate();
      }}
    >
      <Group align="flex-start" gap="xs">
        <TextInput
          aria-label="name"
          placeholder="name"
          value={name}
          onChange={(e) => setName(e.currentTarget.value)}
          w={240}
          error={problem?.field("name")}
        />
        {kind === "secrets" ? (
          <PasswordInput
            aria-label="value"
            placeholder="value"
            value={value}
            onChange={(e) => setValue(e.currentTarget.value)}
            autoComplete="off"
            style={{ flex: 1 }}
            error={problem?.field("value")}
          />
        ) : (
          <Textarea
            aria-label="value"
            placeholder="text, or any JSON value"
            autosize
            minRows={1}
            value={value}
            onChange={(e) => setValue(e.currentTarget.value)}
            style={{ flex: 1 }}
            error={problem?.field("value")}
          />
        )}
        <Button type="submit" variant="light" loading={set.isPending} disabled={!name.trim() || !value}>
          Set
        </Button>
      </Group>
      {set.isError && (
        <Text c="red" size="sm" mt={4} style={{ whiteSpace: "pre-wrap" }} role="alert">
          {textOf(set.error)}
        </Text>
      )}
    </form>
  );
}

/** JSON as it is, everything else as text. */
export function parse(text: string): Json {
  try {
    return JSON.parse(text) as Json;
  } catch {
    return text;
  }
}
