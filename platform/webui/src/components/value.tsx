import { Anchor, Box, Code, Group, Table, Text } from "@mantine/core";
import { IconDownload, IconFile, IconFolder } from "@tabler/icons-react";
import { useState } from "react";
import { path, query } from "../api/client";
import type { FileRef, Json } from "../api/types";
import { bytes, isFile } from "./format";

const digestOf = (f: FileRef) => f.$file ?? f.$dir ?? "";

export const fileURL = (project: string, f: FileRef) =>
  query(path("runner", project, "files", digestOf(f)), { name: f.$dir ? `${f.name}.tar.zst` : f.name, type: f.type });

function FileValue({ project, file }: { project: string; file: FileRef }) {
  const Icon = file.$dir ? IconFolder : IconFile;
  const url = fileURL(project, file);
  return (
    <Group gap={6} wrap="nowrap">
      <Icon size={16} />
      <Anchor href={url} target="_blank" rel="noreferrer" size="sm">
        {file.name}
      </Anchor>
      <Text size="xs" c="dimmed">
        {bytes(file.size)} {file.type}
      </Text>
      <Anchor href={url} download={file.name} size="sm" aria-label={`download ${file.name}`}>
        <IconDownload size={14} />
      </Anchor>
    </Group>
  );
}

const LIMIT = 2000;

/** One value: files as links, texts as they are, the rest as JSON; long ones open on demand. */
export function Value({ project, value }: { project: string; value: Json | undefined }) {
  const [open, setOpen] = useState(false);
  if (value === undefined) return null;
  if (isFile(value)) return <FileValue project={project} file={value} />;
  if (Array.isArray(value) && value.length > 0 && value.every(isFile)) {
    const files = value as unknown as FileRef[];
    return (
      <Box>
        {files.slice(0, open ? undefined : 20).map((f, i) => (
          <FileValue key={i} project={project} file={f} />
        ))}
        {files.length > 20 && !open && <More what={`${files.length - 20} more files`} open={() => setOpen(true)} />}
      </Box>
    );
  }
  const text = typeof value === "string" ? value : JSON.stringify(value, null, 2);
  const long = text.length > LIMIT;
  return (
    <Box>
      <Code block={text.length > 60 || text.includes("\n")} className="value">
        {long && !open ? `${text.slice(0, LIMIT)}…` : text}
      </Code>
      {long && !open && <More what={`${bytes(text.length)} in all`} open={() => setOpen(true)} />}
    </Box>
  );
}

function More({ what, open }: { what: string; open: () => void }) {
  return (
    <Anchor component="button" size="xs" onClick={open}>
      Show all ({what})
    </Anchor>
  );
}

/** Named values as a table; a list result is a table per item. */
export function Values({ project, values, empty }: { project: string; values: Json | undefined; empty: string }) {
  if (Array.isArray(values)) {
    return (
      <Box>
        {values.slice(0, 100).map((v, i) => (
          <Box key={i} mb="xs">
            <Text size="xs" c="dimmed">
              item {i}
            </Text>
            <Values project={project} values={v} empty={empty} />
          </Box>
        ))}
        {values.length > 100 && (
          <Text size="xs" c="dimmed">
            … {values.length - 100} more items: pelton run show -o json lists all
          </Text>
        )}
      </Box>
    );
  }
  const entries = values && typeof values === "object" ? Object.entries(values) : [];
  if (entries.length === 0)
    return (
      <Text size="sm" c="dimmed">
        {empty}
      </Text>
    );
  return (
    <Table layout="fixed" withRowBorders={false} highlightOnHover={false}>
      <Table.Tbody>
        {entries.map(([name, v]) => (
          <Table.Tr key={name}>
            <Table.Td w={160} style={{ verticalAlign: "top" }}>
              <Text size="sm" fw={500} style={{ wordBreak: "break-word" }}>
                {name}
              </Text>
            </Table.Td>
            <Table.Td>
              <Value project={project} value={v} />
            </Table.Td>
          </Table.Tr>
        ))}
      </Table.Tbody>
    </Table>
  );
}
