import "@mantine/core/styles.css";
import "@mantine/notifications/styles.css";
import "@xyflow/react/dist/style.css";
import "./app.css";
import { MantineProvider } from "@mantine/core";
import { Notifications } from "@mantine/notifications";
import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { RouterProvider } from "@tanstack/react-router";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { Problem, session } from "./api/client";
import { makeRouter } from "./router";
import { theme } from "./theme";

const queries = new QueryClient({
  defaultOptions: {
    queries: {
      staleTime: 5_000,
      // A server that restarts is back in a moment; an answer that says no will say so again.
      retry: (count, e) => count < 4 && (!(e instanceof Problem) || e.status === 0 || e.status === 503),
      retryDelay: (n) => Math.min(300 * 2 ** n, 3000),
    },
  },
});
const router = makeRouter(queries);

session.ended = () => {
  queries.removeQueries({ queryKey: ["me"] });
  const here = router.state.location;
  if (here.pathname !== "/login") void router.navigate({ to: "/login", search: { next: here.href }, replace: true });
};

createRoot(document.getElementById("root")!).render(
  <StrictMode>
    <MantineProvider theme={theme} defaultColorScheme="auto">
      <QueryClientProvider client={queries}>
        <Notifications position="top-right" />
        <RouterProvider router={router} />
      </QueryClientProvider>
    </MantineProvider>
  </StrictMode>,
);
