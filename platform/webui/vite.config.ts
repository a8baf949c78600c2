import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";

// The page lives below /app; while it is worked on, `vite` hands every call to a running server.
const server = process.env.PELTON_URL ?? "http://127.0.0.1:8080";
const services = ["/authorization", "/repository", "/studio", "/runner", "/user-api"];

export default defineConfig({
  base: "/app/",
  plugins: [react()],
  build: {
    outDir: "dist",
    emptyOutDir: true,
    chunkSizeWarningLimit: 900,
    rollupOptions: {
      output: {
        manualChunks: { mantine: ["@mantine/core", "@mantine/hooks", "@mantine/notifications"] },
      },
    },
  },
  server: { proxy: Object.fromEntries(services.map((s) => [s, { target: server, changeOrigin: true }])) },
  test: { environment: "jsdom", include: ["src/**/*.test.{ts,tsx}"], restoreMocks: true },
});
