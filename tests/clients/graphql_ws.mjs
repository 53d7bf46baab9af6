// graphql-ws: many operations on one socket, some with mistakes, a socket that is cut, connection parameters, pings.
// node graphql_ws.mjs <server>
import { createClient } from "graphql-ws";
import WebSocket from "./browser_socket.mjs";
import { CHANGED, history, listen, results, setAll } from "./feed.mjs";

const [server] = process.argv.slice(2);
const ORDERS = ["32", "33", "34", "35"];

console.log(
  JSON.stringify({
    shared: await shareASocket(),
    cut: await resumeAfterACut(),
    greeted: await greet(),
    pongs: await ping(),
  }),
);

function connect(options) {
  return createClient({
    url: `${server.replace("http", "ws")}/api/graphql`,
    webSocketImpl: WebSocket,
    ...options,
  });
}

// Two subscriptions after the same cursor, with mutations, queries and mistakes on the same socket.
async function shareASocket() {
  let opened = 0;
  const client = connect({ lazy: false, on: { opened: () => (opened += 1) } });
  const { headCursor } = await history(client);
  const all = listen(client, { after: headCursor });
  const some = listen(client, { after: headCursor, orderKeys: ORDERS.slice(0, 1) });
  await setAll(client, ORDERS, "PARTIAL");
  const refused = {
    syntax: await refusal(client, { query: "{ orders" }),
    name: await refusal(client, { query: "query A { __typename }", operationName: "B" }),
    field: await refusal(client, { query: "subscription { noSuchField }" }),
    cursor: await refusal(client, { query: CHANGED, variables: { after: "nonsense" } }),
  };
  await setAll(client, ORDERS, "OPEN");
  const [{ data }] = await results(client, { query: "{ order(orderKey: 32) { orderKey status } }" });
  const { nodes } = await history(client, headCursor);
  await all.count(nodes.length);
  // This change comes last: no other is repeated or late.
  const [[last]] = await setAll(client, ORDERS.slice(0, 1), "FULFILLED");
  await all.count(nodes.length + 1);
  await some.count(nodes.filter(isFirst).length + 1);
  await client.dispose();
  const made = [...nodes, last.data.setOrderStatus.change];
  return { opened, refused, order: data.order, made, all: all.heard, some: some.heard };
}

function isFirst({ orderKey }) {
  return orderKey === ORDERS[0];
}

// The reasons with which an operation is refused.
function refusal(client, operation) {
  const reasons = (errors) => errors.map(({ extensions }) => extensions.reason);
  return results(client, operation).then(() => null, reasons);
}

// The network fails during a subscription, and the client reconnects after more changes.
async function resumeAfterACut() {
  const sockets = [];
  let comeBack;
  const back = new Promise((resolve) => (comeBack = resolve));
  const client = connect({ on: { opened: (socket) => sockets.push(socket) }, retryWait: () => back });
  const beside = connect();
  const { headCursor } = await history(beside);
  const { heard, count, stop } = listen(client, { after: headCursor });
  await setAll(beside, ORDERS, "PARTIAL");
  await count(ORDERS.length);
  sockets[0].terminate();
  await setAll(beside, ORDERS, "OPEN");
  comeBack();
  await count(2 * ORDERS.length);
  stop();
  return { sockets: sockets.length, heard, made: (await history(beside, headCursor)).nodes };
}

// A query after each kind of connection parameters. JSON's null is sent as such, although the client would omit it.
async function greet() {
  const asNull = (key, value) => (key === "payload" && value?.asNull ? null : value);
  const greetings = {
    absent: {},
    "null for the client": { connectionParams: null },
    "null on the wire": { connectionParams: { asNull: true }, jsonMessageReplacer: asNull },
    "no parameters": { connectionParams: {} },
    parameters: { connectionParams: async () => ({ authorization: "Bearer a-token" }) },
  };
  const query = "{ __typename }";
  const answers = Object.entries(greetings).map(async ([name, options]) => [
    name,
    await results(connect({ retryAttempts: 0, ...options }), { query }),
  ]);
  return Object.fromEntries(await Promise.all(answers));
}

// The client pings as long as it gets pongs.
async function ping() {
  let pongs = 0;
  await new Promise((resolve) => {
    const pong = (received) => {
      pongs += received;
      if (pongs === 3) resolve(client.dispose());
    };
    const client = connect({ lazy: false, keepAlive: 10, on: { pong } });
  });
  return pongs;
}
