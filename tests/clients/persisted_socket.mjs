// Documents by hash over a WebSocket. Each client asks for the head of the feed and follows the changes after a cursor;
// it prints what it sent ("hash", "text") with what it got.
// node persisted_socket.mjs <server> <server of Relay's documents> <their directory> <cursor> <changes after it>
import { createHash } from "node:crypto";
import { createRequire } from "node:module";
import { join } from "node:path";
import { Client, gql, subscriptionExchange } from "@urql/core";
import { persistedExchange } from "@urql/exchange-persisted";
import { createClient } from "graphql-ws";
import relay from "relay-runtime";
import WebSocket from "./browser_socket.mjs";

const [server, trusting, documents, after, count] = process.argv.slice(2);
const HEAD = "query Head { orderStatusChanges(first: 0) { headCursor } }";
const CHANGED = `subscription Changed($after: String) {
  orderStatusChanged(after: $after) { cursor orderKey status version }
}`;
const hash = (text) => createHash("sha256").update(text).digest("hex");

console.log(
  JSON.stringify({
    "graphql-ws": await byGraphqlWs(),
    urql: await byUrql(),
    relay: await byRelay(),
  }),
);

// A client, and for each payload that it sends: "text", "hash" or both.
function connect(server) {
  const sent = [];
  const client = createClient({
    url: `${server.replace("http", "ws")}/api/graphql`,
    webSocketImpl: WebSocket,
    jsonMessageReplacer(key, value) {
      if (key === "payload" && value?.query !== undefined) {
        const hashed = value.documentId ?? value.extensions?.persistedQuery?.sha256Hash;
        sent.push([...(value.query ? ["text"] : []), ...(hashed ? ["hash"] : [])].join(" "));
      }
      return value;
    },
  });
  return { client, sent };
}

// The first results of a subscription.
function first(count, subscribe) {
  const results = [];
  return new Promise((resolve, reject) => {
    const stop = subscribe({
      next(result) {
        if (results.push(result) === Number(count)) queueMicrotask(() => resolve((stop(), results)));
      },
      error: reject,
    });
  });
}

// graphql-ws: sends text and hash once, and then the hash beside the empty text that the client insists on.
async function byGraphqlWs() {
  const { client, sent } = connect(server);
  const ask = (text, query, variables) => {
    const extensions = { persistedQuery: { version: 1, sha256Hash: hash(text) } };
    return { query, variables, extensions };
  };
  const head = (query) => first(1, (sink) => client.subscribe(ask(HEAD, query), { ...sink, complete() {} }));
  const changes = (query) =>
    first(count, (sink) => client.subscribe(ask(CHANGED, query, { after }), { ...sink, complete() {} }));
  await head(HEAD);
  await changes(CHANGED);
  const [{ data }] = await head("");
  const heard = await changes("");
  client.dispose();
  return { sent, head: data.orderStatusChanges.headCursor, heard: heard.map(changed) };
}

// urql: as its documentation says, with an empty text for a request that has no text.
async function byUrql() {
  const { client: socket, sent } = connect(server);
  const ask = async () => {
    const client = new Client({
      url: server,
      preferGetMethod: false,
      exchanges: [
        persistedExchange({ enableForSubscriptions: true }),
        subscriptionExchange({
          enableAllOperations: true,
          forwardSubscription: (request) => ({
            subscribe: (sink) => ({ unsubscribe: socket.subscribe({ ...request, query: request.query || "" }, sink) }),
          }),
        }),
      ],
    });
    const { data, error } = await client.query(gql(HEAD), {}).toPromise();
    if (error) throw error;
    const heard = await first(count, (sink) => {
      const source = client.subscription(gql(CHANGED), { after });
      return source.subscribe((result) => (result.error ? sink.error(result.error) : sink.next(result))).unsubscribe;
    });
    return { head: data.orderStatusChanges.headCursor, heard: heard.map(changed) };
  };
  // A new client knows nothing of the first one's documents, but the server does.
  await ask();
  const again = await ask();
  socket.dispose();
  return { sent, ...again };
}

// Relay: its compiler leaves only the id of each document.
async function byRelay() {
  const { client, sent } = connect(trusting);
  const require = createRequire(join(documents, "__generated__", "index.js"));
  const [HEAD, CHANGED] = ["feed_headQuery", "feed_changedSubscription"].map((name) => require(`./${name}.graphql`));
  const send = ({ id, name, text }, variables) =>
    relay.Observable.create((sink) =>
      client.subscribe({ operationName: name, query: text ?? "", documentId: id, variables }, sink),
    );
  const network = relay.Network.create(send, send);
  const environment = new relay.Environment({ network, store: new relay.Store(new relay.RecordSource()) });
  const { orderStatusChanges } = await relay.fetchQuery(environment, HEAD, {}).toPromise();
  const heard = await first(count, ({ next, error }) => {
    const config = { subscription: CHANGED, variables: { after }, onNext: next, onError: error };
    return relay.requestSubscription(environment, config).dispose;
  });
  client.dispose();
  return { sent, head: orderStatusChanges.headCursor, heard: heard.map((data) => ({ ...data.orderStatusChanged })) };
}

function changed({ data }) {
  return { ...data.orderStatusChanged };
}
