// A subscriber that outlives its server: prints each change that it gets until the input ends, and then the close code
// of its first socket if it had one.
// node follow.mjs <graphql-ws or graphql-sse> <server> <cursor>
import * as sse from "graphql-sse";
import * as ws from "graphql-ws";
import WebSocket from "ws";
import { listen } from "./feed.mjs";

const [name, server, after] = process.argv.slice(2);
const retryAttempts = Infinity;
// By default the clients wait for seconds between two attempts.
const soon = () => new Promise((resolve) => setTimeout(resolve, 250));
const closed = [];
const clients = {
  "graphql-ws": () =>
    ws.createClient({
      url: `${server.replace("http", "ws")}/api/graphql`,
      webSocketImpl: WebSocket,
      retryAttempts,
      retryWait: soon,
      // By default it gives up if nothing listens, as between a stop and a start.
      shouldRetry: () => true,
      on: { closed: ({ code }) => closed.push(code) },
    }),
  "graphql-sse": () =>
    sse.createClient({ url: `${server}/api/graphql/stream`, singleConnection: false, retryAttempts, retry: soon }),
};
const client = clients[name]();

listen(client, { after }, (change) => console.log(JSON.stringify(change)));
process.stdin.resume().on("end", () => {
  if (closed.length) console.log(JSON.stringify({ closed: closed[0] }));
  client.dispose();
});
