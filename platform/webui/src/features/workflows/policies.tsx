import { Group, Text, Tooltip } from "@mantine/core";
import { Link } from "@tanstack/react-router";
import type { Policies } from "../../api/types";
import { policyIcon } from "./icons";
import { policies } from "./words";

/** What holds for the runs of a workflow, in a line. */
export function PolicyLine({ project, policies: p }: { project: string; policies?: Policies }) {
  const all = policies(p);
  if (all.length === 0) return null;
  return (
    <Group gap={6} aria-label="policies">
      {all.map((x) => {
        const Icon = policyIcon[x.kind];
        return (
          <Tooltip
            key={x.name}
            label={`${x.name}: ${x.words}${x.workflow ? ` ${x.workflow}` : ""}`}
            multiline
            maw={420}
          >
            <span className="policy" data-policy={x.name} tabIndex={0}>
              <Icon size={14} stroke={1.7} />
              <Text span size="xs">
                {x.words}{" "}
                {x.workflow && (
                  <Link to="/$project/workflows/$name" params={{ project, name: x.workflow }}>
                    {x.workflow}
                  </Link>
                )}
              </Text>
            </span>
          </Tooltip>
        );
      })}
    </Group>
  );
}
