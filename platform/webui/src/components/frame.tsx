import {
  ActionIcon,
  AppShell,
  Badge,
  Burger,
  Group,
  Menu,
  NavLink,
  Select,
  Text,
  useMantineColorScheme,
} from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import {
  IconBook2,
  IconBrandGit,
  IconCalendarClock,
  IconChartBar,
  IconKey,
  IconListDetails,
  IconLock,
  IconLogout,
  IconMoon,
  IconSitemap,
  IconSun,
  IconUser,
  IconUserCheck,
} from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { Link, Outlet, useNavigate, useParams, useRouterState } from "@tanstack/react-router";
import { call } from "../api/client";
import { useLive } from "../api/live";
import { me, projects } from "../api/queries";
import { useWaitingCount } from "../features/approvals/count";

const places = [
  { to: "/$project/workflows", label: "Workflows", icon: IconSitemap },
  { to: "/$project/runs", label: "Runs", icon: IconListDetails, also: ["/$project/failures", "/$project/orders"] },
  { to: "/$project/schedules", label: "Schedules", icon: IconCalendarClock },
  { to: "/$project/approvals", label: "Approvals", icon: IconUserCheck },
  { to: "/$project/cost", label: "Cost", icon: IconChartBar },
  { to: "/$project/library", label: "Library", icon: IconBook2 },
  { to: "/$project/repositories", label: "Repositories", icon: IconBrandGit },
  { to: "/$project/secrets", label: "Secrets & variables", icon: IconLock },
  { to: "/$project/keys", label: "API keys", icon: IconKey },
] as const;

/** The project in the address. */
export const useProject = () => useParams({ strict: false }).project ?? "default";

const rank = ["", "viewer", "operator", "developer", "admin"];

/** Whether the person may do what needs a role. The server decides; this only hides what it would refuse. */
export function useMay(role: "operator" | "developer" | "admin"): boolean {
  const project = useProject();
  const who = useQuery(me).data;
  return !!who && (who.admin || rank.indexOf(who.roles[project] ?? "") >= rank.indexOf(role));
}

/** The frame of every page of a project: where one is, where one can go, who one is. */
export function Frame() {
  const project = useProject();
  const [opened, { toggle, close }] = useDisclosure();
  const navigate = useNavigate();
  const here = useRouterState({ select: (s) => s.location.pathname });
  const all = useQuery(projects).data?.items ?? [];
  useLive("runner", project);
  const waiting = useWaitingCount(project);
  const names = [...new Set([project, ...all.map((p) => p.name)])];
  return (
    <AppShell
      header={{ height: 52 }}
      navbar={{ width: 236, breakpoint: "sm", collapsed: { mobile: !opened } }}
      padding="lg"
    >
      <AppShell.Header px="md">
        <Group h="100%" justify="space-between" wrap="nowrap">
          <Group gap="sm" wrap="nowrap">
            <Burger opened={opened} onClick={toggle} hiddenFrom="sm" size="sm" aria-label="menu" />
            <img src="/app/pelton.svg" width={24} height={24} alt="" />
            <Text fw={700}>Pelton</Text>
            <Select
              aria-label="project"
              size="xs"
              w={160}
              data={names}
              value={project}
              allowDeselect={false}
              searchable
              onChange={(p) => p && void navigate({ to: "/$project/workflows", params: { project: p } })}
            />
          </Group>
          <Group gap={4} wrap="nowrap">
            <Scheme />
            <Person />
          </Group>
        </Group>
      </AppShell.Header>
      <AppShell.Navbar p="xs">
        {places.map(({ to, label, icon: Icon, ...place }) => (
          <NavLink
            key={to}
            label={label}
            leftSection={<Icon size={18} stroke={1.6} />}
            rightSection={
              waiting &&
              label === "Approvals" && (
                <Badge
                  size="sm"
                  circle={waiting.length === 1}
                  color="yellow"
                  variant="filled"
                  aria-label={`${waiting} waiting`}
                >
                  {waiting}
                </Badge>
              )
            }
            active={[to, ...("also" in place ? place.also : [])].some((p) =>
              here.startsWith(p.replace("$project", project)),
            )}
            renderRoot={(props) => <Link to={to} params={{ project }} {...props} onClick={close} />}
          />
        ))}
      </AppShell.Navbar>
      <AppShell.Main>
        <Outlet />
      </AppShell.Main>
    </AppShell>
  );
}

function Scheme() {
  const { colorScheme, setColorScheme } = useMantineColorScheme();
  const dark = colorScheme === "dark" || (colorScheme === "auto" && matchMedia("(prefers-color-scheme: dark)").matches);
  return (
    <ActionIcon
      variant="subtle"
      color="gray"
      aria-label={dark ? "light colours" : "dark colours"}
      onClick={() => setColorScheme(dark ? "light" : "dark")}
    >
      {dark ? <IconSun size={18} /> : <IconMoon size={18} />}
    </ActionIcon>
  );
}

function Person() {
  const who = useQuery(me).data;
  const logout = async () => {
    await call("POST", "/authorization/v1/logout");
    location.assign("/app/login");
  };
  return (
    <Menu position="bottom-end">
      <Menu.Target>
        <ActionIcon variant="subtle" color="gray" aria-label="account">
          <IconUser size={18} />
        </ActionIcon>
      </Menu.Target>
      <Menu.Dropdown>
        <Menu.Label>
          {who?.name} {who?.admin && "(platform admin)"}
        </Menu.Label>
        <Menu.Item leftSection={<IconLogout size={16} />} onClick={() => void logout()}>
          Log out
        </Menu.Item>
      </Menu.Dropdown>
    </Menu>
  );
}
