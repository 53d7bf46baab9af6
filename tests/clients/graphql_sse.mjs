// graphql-sse: each operation on a connection of its own, some with mistakes, and a second subscription.
// node graphql_sse.mjs <server>
import { createClient } from "graphql-sse";
import { CHANGED, HISTORY, history, listen, results, SET } from "./feed.mjs";

const [server] = process.argv.slice(2);
const ORDER = "36";
const client = createClient({ url: `${server}/api/graphql/stream`, singleConnection: false, retryAttempts: 0 });

const { headCursor } = await history(client);
const first = listen(client, { after: headCursor });
const set = { partial: await setTo("PARTIAL"), open: await setTo("OPEN") };
await first.count(2);
first.stop();
// No subscription is open when this change is made.
await setTo("FULFILLED");
const second = listen(client, { after: first.heard.at(-1).cursor });
await second.count(1);
await setTo("PARTIAL");
await second.count(2);
second.stop();

console.log(
  JSON.stringify({
    query: await results(client, { query: HISTORY, variables: { after: headCursor } }),
    set,
    first: first.heard,
    second: second.heard,
    refused: {
      syntax: await results(client, { query: "{ orders" }),
      name: await results(client, { query: "query A { __typename }", operationName: "B" }),
      field: await results(client, { query: "subscription { noSuchField }" }),
      cursor: await results(client, { query: CHANGED, variables: { after: "nonsense" } }),
      page: await results(client, { query: "{ orders(first: -1) { totalCount } }" }),
    },
  }),
);
client.dispose();

function setTo(status) {
  return results(client, { query: SET, variables: { orderKey: ORDER, status } });
}
