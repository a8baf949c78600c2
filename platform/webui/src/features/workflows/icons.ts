import {
  IconAlertTriangle,
  IconArrowBackUp,
  IconArrowsJoin2,
  IconArrowsSplit2,
  IconBroadcast,
  IconCalendarTime,
  IconClock,
  IconClockStop,
  IconDatabase,
  IconDatabaseOff,
  IconEye,
  IconFilter,
  IconFingerprint,
  IconFlag,
  IconFunction,
  IconGauge,
  IconHourglass,
  IconLeaf,
  IconLifebuoy,
  IconPencil,
  IconPlugConnected,
  IconRefresh,
  IconRepeat,
  IconSitemap,
  IconStack2,
  IconUrgent,
  IconUserCheck,
  IconWorld,
  type Icon,
} from "@tabler/icons-react";
import type { Policy, SettingKind } from "./words";

const kinds: Record<string, Icon> = {
  action: IconFunction,
  workflow: IconSitemap,
  wait: IconHourglass,
  until: IconCalendarTime,
  signal: IconBroadcast,
  approval: IconUserCheck,
  switch: IconArrowsSplit2,
  collect: IconArrowsJoin2,
  result: IconFlag,
};

/** The icon of a kind of step, or of what it waits for. */
export const kindIcon = (kind: string): Icon => kinds[kind] ?? IconFunction;

export const triggerIcon = (uses: string): Icon =>
  uses === "http" ? IconWorld : uses === "cron" ? IconClock : IconPlugConnected;

export const markIcon: Record<SettingKind, Icon> = {
  if: IconFilter,
  join: IconArrowsJoin2,
  each: IconStack2,
  loop: IconRepeat,
  asks: IconUserCheck,
  effect: IconPencil,
  retry: IconRefresh,
  timeout: IconClockStop,
  cache: IconDatabase,
  limit: IconGauge,
  priority: IconUrgent,
  catch: IconLifebuoy,
  undo: IconArrowBackUp,
};

const effects: Record<string, Icon> = {
  pure: IconLeaf,
  read: IconEye,
  write: IconPencil,
  irreversible: IconAlertTriangle,
};
export const effectIcon = (effect: string | undefined): Icon => effects[effect ?? ""] ?? IconPencil;

export const policyIcon: Record<Policy["kind"], Icon> = {
  limit: IconStack2,
  rate: IconGauge,
  key: IconFingerprint,
  timeout: IconClockStop,
  priority: IconUrgent,
  failure: IconLifebuoy,
  durability: IconDatabaseOff,
};
