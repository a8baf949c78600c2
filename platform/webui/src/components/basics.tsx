import {
  ActionIcon,
  Alert,
  Badge,
  Button,
  Center,
  Code,
  CopyButton,
  Group,
  Loader,
  Stack,
  Text,
  Title,
  Tooltip,
} from "@mantine/core";
import { IconAlertTriangle, IconCheck, IconCopy } from "@tabler/icons-react";
import { type ReactNode, useEffect, useState } from "react";
import { Problem, textOf } from "../api/client";
import { stateColor } from "../theme";
import { ago } from "./format";

export function StateBadge({ state, title }: { state: string; title?: string }) {
  const badge = (
    <Badge variant="light" color={stateColor[state] ?? "gray"} tt="none" miw="max-content" data-state={state}>
      {state}
    </Badge>
  );
  return title ? (
    <Tooltip label={title} multiline maw={420}>
      {badge}
    </Tooltip>
  ) : (
    badge
  );
}

/** The head of a page: its title, what it is about, and what can be done. */
export function Head(props: { title: ReactNode; about?: ReactNode; actions?: ReactNode; children?: ReactNode }) {
  return (
    <Group justify="space-between" align="flex-start" mb="md" wrap="wrap">
      <Stack gap={2}>
        <Group gap="sm">
          <Title order={1}>{props.title}</Title>
          {props.children}
        </Group>
        {props.about && (
          <Text c="dimmed" size="sm" component="div">
            {props.about}
          </Text>
        )}
      </Stack>
      <Group gap="xs">{props.actions}</Group>
    </Group>
  );
}

export function Failure({ error, retry }: { error: unknown; retry?: () => void }) {
  const notFound = error instanceof Problem && error.status === 404;
  return (
    <Alert
      color={notFound ? "gray" : "red"}
      icon={<IconAlertTriangle size={18} />}
      title={notFound ? "Not found" : "That did not work"}
      role="alert"
    >
      <Text size="sm" style={{ whiteSpace: "pre-wrap" }}>
        {textOf(error)}
      </Text>
      {retry && (
        <Button mt="sm" size="xs" variant="default" onClick={retry}>
          Try again
        </Button>
      )}
    </Alert>
  );
}

export function Waiting() {
  return (
    <Center p="xl">
      <Loader size="sm" aria-label="loading" />
    </Center>
  );
}

/** A list with nothing in it says what would fill it. */
export function Empty({ title, children }: { title: string; children?: ReactNode }) {
  return (
    <Center p="xl" className="empty">
      <Stack gap={4} align="center" maw={560}>
        <Text fw={600}>{title}</Text>
        <Text c="dimmed" size="sm" ta="center" component="div">
          {children}
        </Text>
      </Stack>
    </Center>
  );
}

/** A command or URL to paste. */
export function Copyable({ text, label }: { text: string; label?: string }) {
  return (
    <Group gap={4} wrap="nowrap" align="center">
      {label && (
        <Text size="sm" c="dimmed" w={70}>
          {label}
        </Text>
      )}
      <Code style={{ flex: 1, whiteSpace: "pre-wrap", wordBreak: "break-all" }}>{text}</Code>
      <CopyButton value={text}>
        {({ copied, copy }) => (
          <Tooltip label={copied ? "copied" : "copy"}>
            <ActionIcon variant="subtle" color={copied ? "teal" : "gray"} onClick={copy} aria-label="copy">
              {copied ? <IconCheck size={16} /> : <IconCopy size={16} />}
            </ActionIcon>
          </Tooltip>
        )}
      </CopyButton>
    </Group>
  );
}

/** The time, anew every interval milliseconds while something moves. */
export function useNow(interval = 1000, moving = true): number {
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    if (!moving) return;
    const t = setInterval(() => setNow(Date.now()), interval);
    return () => clearInterval(t);
  }, [interval, moving]);
  return now;
}

export function Ago({ at }: { at: string }) {
  const now = useNow(15_000);
  return (
    <Tooltip label={new Date(at).toLocaleString()}>
      <time dateTime={at} className="nowrap">
        {ago(at, now)}
      </time>
    </Tooltip>
  );
}
