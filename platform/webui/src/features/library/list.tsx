import { Badge, Card, Group, SimpleGrid, Text, TextInput } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";
import { useLive } from "../../api/live";
import { actions } from "../../api/queries";
import type { Action } from "../../api/types";
import { Ago, Empty, Failure, Head, Waiting } from "../../components/basics";

const route = getRouteApi("/$project/library");

export const runtimeName: Record<string, string> = {
  python3: "Python",
  nodejs: "Node.js",
  go: "Go",
  container: "container",
};

export function LibraryPage() {
  const { project } = route.useParams();
  const { search } = route.useSearch();
  const navigate = route.useNavigate();
  useLive("studio", project);
  const q = useQuery(actions(project));
  return (
    <>
      <Head
        title="Library"
        about="Actions that are built and ready to be used in workflows."
        actions={
          <TextInput
            size="xs"
            placeholder="search"
            aria-label="search"
            defaultValue={search}
            w={220}
            onChange={(e) => void navigate({ search: { search: e.currentTarget.value || undefined }, replace: true })}
          />
        }
      />
      {q.isPending ? (
        <Waiting />
      ) : q.isError ? (
        <Failure error={q.error} retry={() => void q.refetch()} />
      ) : (
        <Cards project={project} items={q.data.items} search={search ?? ""} />
      )}
    </>
  );
}

const matches = (a: Action, words: string) =>
  words
    .toLowerCase()
    .split(/\s+/)
    .every((w) =>
      [a.id, a.title, a.description, a.kind, a.runtime, ...(a.categories ?? [])].join(" ").toLowerCase().includes(w),
    );

function Cards({ project, items, search }: { project: string; items: Action[]; search: string }) {
  const found = items.filter((a) => matches(a, search));
  if (items.length === 0)
    return (
      <Empty title="No actions yet">
        Add a repository, or write one: pelton action new my-action, then pelton dev my-action.
      </Empty>
    );
  if (found.length === 0) return <Empty title="Nothing matches">No action has all of these words.</Empty>;
  return (
    <SimpleGrid cols={{ base: 1, sm: 2, lg: 3 }}>
      {found.map((a) => (
        <Card key={a.id} withBorder padding="md">
          <Group justify="space-between" wrap="nowrap" mb={4}>
            <Link className="row" to="/$project/library/$action" params={{ project, action: a.id }}>
              {a.title || a.id}
            </Link>
            <Badge
              variant="light"
              tt="none"
              color={a.kind === "Source" ? "grape" : a.kind === "Publisher" ? "orange" : "water"}
            >
              {a.kind}
            </Badge>
          </Group>
          <Text size="sm" c="dimmed" lineClamp={2} mih={42}>
            {a.description || (a.title && a.title !== a.id ? a.id : "no description")}
          </Text>
          <Group justify="space-between" mt="xs">
            <Text size="xs" c="dimmed">
              {a.id}@{a.version} · {runtimeName[a.runtime] ?? a.runtime}
            </Text>
            <Text size="xs" c="dimmed">
              built <Ago at={a.offered_at} />
            </Text>
          </Group>
        </Card>
      ))}
    </SimpleGrid>
  );
}
