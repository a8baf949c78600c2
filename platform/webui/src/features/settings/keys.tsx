import { Alert, Button, Group, Select, Table, Text, TextInput } from "@mantine/core";
import { notifications } from "@mantine/notifications";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { call, path, Problem, textOf } from "../../api/client";
import { keys } from "../../api/queries";
import type { ApiKey } from "../../api/types";
import { Ago, Copyable, Empty, Failure, Head, Waiting } from "../../components/basics";
import { useMay, useProject } from "../../components/frame";

const lifetimes = [
  { value: "", label: "does not expire" },
  { value: "30", label: "30 days" },
  { value: "90", label: "90 days" },
  { value: "365", label: "1 year" },
];

export function KeysPage() {
  const project = useProject();
  const may = useMay("developer");
  const q = useQuery(keys(project));
  return (
    <>
      <Head
        title="API keys"
        about="Programs that call this project's triggers and interfaces use a key. It is shown once and stored as a hash."
      />
      {may && <Make project={project} />}
      {q.isPending ? (
        <Waiting />
      ) : q.isError ? (
        <Failure error={q.error} />
      ) : (
        <Rows project={project} items={q.data.items} />
      )}
    </>
  );
}

function Make({ project }: { project: string }) {
  const [name, setName] = useState("");
  const [role, setRole] = useState<string | null>("operator");
  const [days, setDays] = useState<string | null>("");
  const queries = useQueryClient();
  const make = useMutation({
    mutationFn: () =>
      call<ApiKey>("POST", path("authorization", project, "keys"), {
        name: name.trim(),
        role,
        expires_at: days ? new Date(Date.now() + Number(days) * 86_400_000).toISOString() : undefined,
      }),
    onSuccess: () => {
      setName("");
      void queries.invalidateQueries({ queryKey: ["authorization", project, "keys"] });
    },
  });
  const problem = make.error instanceof Problem ? make.error : undefined;
  return (
    <form
      onSubmit={(e) => {
        e.preventDefault();
        make.mutate();
      }}
    >
      <Group align="flex-end" gap="xs" mb="md">
        <TextInput
          label="Name"
          placeholder="what it is for"
          value={name}
          onChange={(e) => setName(e.currentTarget.value)}
          error={problem?.field("name")}
          w={260}
        />
        <Select
          label="Role"
          data={["viewer", "operator", "developer", "admin"]}
          value={role}
          onChange={setRole}
          allowDeselect={false}
          error={problem?.field("role")}
          w={140}
        />
        <Select label="Lifetime" data={lifetimes} value={days} onChange={setDays} allowDeselect={false} w={160} />
        <Button type="submit" loading={make.isPending} disabled={!name.trim()}>
          Create key
        </Button>
      </Group>
      {make.isError && (
        <Text c="red" size="sm" mb="md" role="alert">
          {textOf(make.error)}
        </Text>
      )}
      {make.data?.key && (
        <Alert color="teal" title={`The key "${make.data.name}": copy it now, it is not shown again`} mb="md">
          <Copyable text={make.data.key} />
        </Alert>
      )}
    </form>
  );
}

function Rows({ project, items }: { project: string; items: ApiKey[] }) {
  const queries = useQueryClient();
  const may = useMay("developer");
  const revoke = useMutation({
    mutationFn: (id: string) => call("DELETE", path("authorization", project, "keys", id)),
    onError: (e) => notifications.show({ color: "red", title: "Not revoked", message: textOf(e) }),
    onSettled: () => queries.invalidateQueries({ queryKey: ["authorization", project, "keys"] }),
  });
  if (items.length === 0)
    return <Empty title="No keys yet">Make one for every program that calls, so that each can be revoked alone.</Empty>;
  return (
    <Table className="panel">
      <Table.Tbody>
        {items.map((k) => (
          <Table.Tr key={k.id}>
            <Table.Td>
              <Text fw={500} size="sm">
                {k.name}
              </Text>
            </Table.Td>
            <Table.Td>
              <Text size="sm" ff="monospace">
                {k.prefix}…
              </Text>
            </Table.Td>
            <Table.Td>{k.role}</Table.Td>
            <Table.Td>
              <Text size="sm" c="dimmed">
                made by {k.created_by} <Ago at={k.created_at} />
              </Text>
            </Table.Td>
            <Table.Td>
              <Text size="sm" c="dimmed">
                {k.expires_at ? `until ${new Date(k.expires_at).toLocaleDateString()}` : "does not expire"}
              </Text>
            </Table.Td>
            <Table.Td ta="right">
              {may && (
                <Button size="compact-xs" color="red" variant="subtle" onClick={() => revoke.mutate(k.id)}>
                  Revoke
                </Button>
              )}
            </Table.Td>
          </Table.Tr>
        ))}
      </Table.Tbody>
    </Table>
  );
}
