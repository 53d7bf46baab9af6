// Vite's development server: starts one for each configuration, prints a line, and stops when its input ends.
// node vite.mjs <directory of the page> [<configuration> <port>]...
import { createServer } from "vite";

const [root, ...given] = process.argv.slice(2);
const servers = [];
// Vite reports a page that is closed while its WebSocket is open as an error.
const logLevel = "silent";
while (given.length) {
  const [configFile, port] = given.splice(0, 2);
  const server = { host: "127.0.0.1", port: Number(port), strictPort: true, hmr: false };
  servers.push(await createServer({ root, configFile, server, logLevel, optimizeDeps: { noDiscovery: true } }));
}
await Promise.all(servers.map((server) => server.listen()));
console.log(JSON.stringify({ listening: servers.length }));
process.stdin.resume().on("end", () => Promise.all(servers.map((server) => server.close())).then(() => process.exit()));
