import { Tabs } from "@mantine/core";
import { useNavigate } from "@tanstack/react-router";

const sections = [
  { value: "runs", label: "All runs", to: "/$project/runs" },
  { value: "failures", label: "Failures", to: "/$project/failures" },
  { value: "orders", label: "Bulk orders", to: "/$project/orders" },
] as const;

/** The pages that are about runs. */
export function Sections({ project, here }: { project: string; here: (typeof sections)[number]["value"] }) {
  const navigate = useNavigate();
  return (
    <Tabs
      value={here}
      mb="md"
      onChange={(v) => {
        const s = sections.find((x) => x.value === v);
        if (s) void navigate({ to: s.to, params: { project } });
      }}
    >
      <Tabs.List>
        {sections.map((s) => (
          <Tabs.Tab key={s.value} value={s.value}>
            {s.label}
          </Tabs.Tab>
        ))}
      </Tabs.List>
    </Tabs>
  );
}
