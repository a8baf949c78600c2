import { Button, Group, Modal, Stack, Switch, Table, Text, TextInput } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { notifications } from "@mantine/notifications";
import { IconPlus, IconRefresh } from "@tabler/icons-react";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { useLive } from "../../api/live";
import { call, path, Problem, textOf } from "../../api/client";
import { repositories } from "../../api/queries";
import type { Repository } from "../../api/types";
import { Ago, Empty, Failure, Head, Waiting } from "../../components/basics";
import { useMay, useProject } from "../../components/frame";

export function RepositoriesPage() {
  const project = useProject();
  useLive("repository", project);
  const [adding, { open, close }] = useDisclosure();
  const may = useMay("developer");
  const q = useQuery(repositories(project));
  const add = may && (
    <Button size="xs" leftSection={<IconPlus size={14} />} onClick={open}>
      Add repository
    </Button>
  );
  return (
    <>
      <Head title="Repositories" about="Where actions and workflows come from." actions={add} />
      {q.isPending ? (
        <Waiting />
      ) : q.isError ? (
        <Failure error={q.error} retry={() => void q.refetch()} />
      ) : (
        <Rows project={project} items={q.data.items} />
      )}
      {adding && <Add project={project} close={close} />}
    </>
  );
}

/** Scans a repository; the page of its repository shows what was found. */
export function ScanButton({ project, id }: { project: string; id: string }) {
  const may = useMay("developer");
  const queries = useQueryClient();
  const scan = useMutation({
    mutationFn: () => call("POST", path("repository", project, "repositories", id, "scans")),
    onError: (e) => notifications.show({ color: "red", title: "Not scanned", message: textOf(e), autoClose: 10_000 }),
    onSettled: () => queries.invalidateQueries({ queryKey: ["repository", project] }),
  });
  if (!may) return null;
  return (
    <Button
      size="xs"
      variant="light"
      leftSection={<IconRefresh size={14} />}
      loading={scan.isPending}
      onClick={() => scan.mutate()}
    >
      Scan now
    </Button>
  );
}

function Rows({ project, items }: { project: string; items: Repository[] }) {
  if (items.length === 0)
    return <Empty title="No repositories yet">Add a Git repository here, or watch a folder with pelton dev.</Empty>;
  return (
    <Table className="panel">
      <Table.Thead>
        <Table.Tr>
          <Table.Th>Repository</Table.Th>
          <Table.Th>Changes</Table.Th>
          <Table.Th>Added</Table.Th>
          <Table.Th />
        </Table.Tr>
      </Table.Thead>
      <Table.Tbody>
        {items.map((r) => (
          <Table.Tr key={r.id}>
            <Table.Td>
              <Link className="row" to="/$project/repositories/$id" params={{ project, id: r.id }}>
                {r.name}
              </Link>
              <Text size="xs" c="dimmed" style={{ wordBreak: "break-all" }}>
                {r.url || r.path} {r.branch && `(${r.branch})`}
              </Text>
            </Table.Td>
            <Table.Td>
              <Text size="sm">
                {[r.watch ? "watched" : "scanned by hand", r.auto_deploy && "deploys by itself"]
                  .filter(Boolean)
                  .join(", ")}
              </Text>
            </Table.Td>
            <Table.Td>
              <Ago at={r.created_at} />
            </Table.Td>
            <Table.Td>
              <Group justify="flex-end">
                <ScanButton project={project} id={r.id} />
              </Group>
            </Table.Td>
          </Table.Tr>
        ))}
      </Table.Tbody>
    </Table>
  );
}

function Add({ project, close }: { project: string; close: () => void }) {
  const [url, setURL] = useState("");
  const [name, setName] = useState("");
  const [branch, setBranch] = useState("");
  const [auto, setAuto] = useState(false);
  const navigate = useNavigate();
  const queries = useQueryClient();
  const add = useMutation({
    mutationFn: async () => {
      const body = { url: url.trim(), name: name.trim() || nameOf(url), branch: branch.trim(), auto_deploy: auto };
      const made = await call<Repository>("POST", path("repository", project, "repositories"), body);
      // The first scan tells whether it can be read; its page shows the answer.
      await call("POST", path("repository", project, "repositories", made.id, "scans")).catch((e: unknown) =>
        notifications.show({ color: "red", title: "Added, not scanned", message: textOf(e), autoClose: 15_000 }),
      );
      return made;
    },
    onSuccess: (made) => {
      void queries.invalidateQueries({ queryKey: ["repository", project] });
      void navigate({ to: "/$project/repositories/$id", params: { project, id: made.id } });
    },
  });
  const problem = add.error instanceof Problem ? add.error : undefined;
  return (
    <Modal opened onClose={close} title={<Text fw={600}>Add a Git repository</Text>}>
      <form
        onSubmit={(e) => {
          e.preventDefault();
          add.mutate();
        }}
      >
        <Stack>
          <TextInput
            label="URL"
            withAsterisk
            placeholder="https://example.com/team/actions.git"
            value={url}
            onChange={(e) => setURL(e.currentTarget.value)}
            error={problem?.field("url")}
            data-autofocus
          />
          <TextInput
            label="Name"
            placeholder={nameOf(url) || "actions"}
            value={name}
            onChange={(e) => setName(e.currentTarget.value)}
            error={problem?.field("name")}
          />
          <TextInput
            label="Branch"
            placeholder="the default branch"
            value={branch}
            onChange={(e) => setBranch(e.currentTarget.value)}
            error={problem?.field("branch")}
          />
          <Switch
            label="Deploy workflows when they change"
            checked={auto}
            onChange={(e) => setAuto(e.currentTarget.checked)}
          />
          {add.isError && (
            <Text c="red" size="sm" style={{ whiteSpace: "pre-wrap" }} role="alert">
              {textOf(add.error)}
            </Text>
          )}
          <Button type="submit" loading={add.isPending} disabled={!url.trim()}>
            Add and scan
          </Button>
        </Stack>
      </form>
    </Modal>
  );
}

const nameOf = (url: string) =>
  url
    .trim()
    .replace(/\/+$/, "")
    .replace(/\.git$/, "")
    .split(/[/:]/)
    .pop()
    ?.toLowerCase()
    .replace(/[^a-z0-9-]+/g, "-") ?? "";
