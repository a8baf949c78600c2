import { Alert, Button, Center, Group, Paper, PasswordInput, Stack, Text, TextInput, Title } from "@mantine/core";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { getRouteApi, useRouter } from "@tanstack/react-router";
import { useEffect, useRef, useState } from "react";
import { call, Problem, textOf } from "../../api/client";

const route = getRouteApi("/login");

/** Signs in with a password, or at once with a code that the terminal printed. */
export function LoginPage() {
  const { code, next } = route.useSearch();
  const router = useRouter();
  const queries = useQueryClient();
  const [name, setName] = useState("admin");
  const [password, setPassword] = useState("");
  const tried = useRef(false);

  const login = useMutation({
    mutationFn: (body: { code: string } | { username: string; password: string }) =>
      call("POST", "code" in body ? "/authorization/v1/login/code" : "/authorization/v1/login", {
        ...body,
        cookie: true,
      }),
    onSuccess: () => {
      queries.clear();
      // Only a place inside this application: an address from elsewhere is not followed.
      const to = next && /^\/[^/\\]/.test(next) ? next : "/";
      router.history.replace(`/app${to.replace(/^\/app(?=\/|$)/, "")}`);
    },
  });
  const { mutate } = login;
  useEffect(() => {
    if (code && !tried.current) {
      tried.current = true;
      mutate({ code });
    }
  }, [code, mutate]);

  const problem = login.error instanceof Problem ? login.error : undefined;
  return (
    <Center mih="90vh">
      <Paper withBorder shadow="sm" p="xl" w={380}>
        <form
          onSubmit={(e) => {
            e.preventDefault();
            mutate({ username: name, password });
          }}
        >
          <Stack>
            <Group gap="sm">
              <img src="/app/pelton.svg" width={34} height={34} alt="" />
              <Title order={1}>Sign in to Pelton</Title>
            </Group>
            {login.isError && (
              <Alert color="red" role="alert">
                {code && !password ? "The sign-in link was used already or is too old. " : ""}
                {textOf(login.error)}
              </Alert>
            )}
            <TextInput
              label="User"
              value={name}
              onChange={(e) => setName(e.currentTarget.value)}
              autoComplete="username"
              error={problem?.field("username")}
            />
            <PasswordInput
              label="Password"
              value={password}
              onChange={(e) => setPassword(e.currentTarget.value)}
              autoComplete="current-password"
              autoFocus
              error={problem?.field("password")}
            />
            <Button type="submit" loading={login.isPending}>
              Sign in
            </Button>
            <Text size="xs" c="dimmed">
              The first user is admin; its password was told at the first start. <code>make run</code> and{" "}
              <code>pelton dev</code> print a link that signs you in.
            </Text>
          </Stack>
        </form>
      </Paper>
    </Center>
  );
}
