// Relay: compiles the fragments of relay/, pages through a list of orders, and refetches one of them. Then it pages
// through the orders of a customer and, of the same objects in the store, through the line items of one order.
// node relay.mjs <endpoint> <page size> <filter and orderBy as JSON> <customer, order and page sizes as JSON>
import { execFileSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { createRequire } from "node:module";
import compiler from "relay-compiler";
import relay from "relay-runtime";

const [url, pageSize] = [process.argv[2], Number(process.argv[3])];
const [list, nested] = process.argv.slice(4).map(JSON.parse);
const home = new URL("relay/", import.meta.url);

const [listFragment, orderFragment, customerFragment, linesFragment] = compiled(
  "orders_list",
  "orders_order",
  "customer_orders",
  "customer_lines",
);
const [forward, backward] = [await pageOrders("forward"), await pageOrders("backward")];
console.log(
  JSON.stringify({
    forward: reported(forward),
    backward: reported(backward),
    refetched: await refetchLast(forward),
    nested: { forward: await pageBelow("forward"), backward: await pageBelow("backward") },
  }),
);

function compiled(...fragments) {
  mkdirSync(new URL("__generated__", home), { recursive: true });
  execFileSync(compiler, ["relay.config.json"], { cwd: home });
  const require = createRequire(home);
  return fragments.map((name) => require(`./__generated__/${name}.graphql`));
}

// Like usePaginationFragment, without React: loads page after page of the connection into the environment's store, and
// returns the nodes of them all. The first page is loaded too, unless `cursor` says where it ended.
async function pageToTheEnd(environment, direction, { fragment, size, variables, cursor = null, of = (root) => root }) {
  const found = relay.getPaginationMetadata(fragment, "fragment");
  const { paginationRequest, paginationMetadata, connectionPathInFragmentData } = found;
  let connection;
  do {
    const page = relay.getPaginationVariables(direction, size, cursor, variables, {}, paginationMetadata);
    await relay.fetchQuery(environment, paginationRequest, page).toPromise();
    const operation = relay.createOperationDescriptor(paginationRequest, page);
    environment.retain(operation);
    const root = environment.lookup(operation.fragment).data;
    connection = read(environment, fragment, of(root))[connectionPathInFragmentData[0]];
    const { startCursor, endCursor, hasNextPage, hasPreviousPage } = connection.pageInfo;
    cursor = direction === "forward" ? hasNextPage && endCursor : hasPreviousPage && startCursor;
  } while (cursor);
  return connection.edges.map(({ node }) => node);
}

async function pageOrders(direction) {
  const [environment, requests] = newEnvironment();
  const nodes = await pageToTheEnd(environment, direction, { fragment: listFragment, size: pageSize, variables: list });
  return { environment, nodes, requests };
}

// The orders come with the first page of their line items. That of one order is continued from its own cursor.
async function pageBelow(direction) {
  const [environment, requests] = newEnvironment();
  const { customer, order, orders: size, lines } = nested;
  const of = ({ node }) => node;
  const variables = { id: customer, lines };
  const orders = await pageToTheEnd(environment, direction, { fragment: customerFragment, size, variables, of });
  const { lineItems } = read(environment, linesFragment, orders.find(({ id }) => id === order));
  const found = await pageToTheEnd(environment, "forward", {
    fragment: linesFragment,
    size: lines,
    variables: { id: order },
    cursor: lineItems.pageInfo.endCursor,
    of,
  });
  return { orders: orders.map(({ id }) => id), lines: found, requests: requests.length };
}

// Like useRefetchableFragment, after the store's copy of the order was changed.
async function refetchLast({ environment, nodes }) {
  const order = () => read(environment, orderFragment, nodes.at(-1));
  const { id } = order();
  relay.commitLocalUpdate(environment, (store) => store.get(id).setValue("stale", "totalPrice"));
  const stored = order();
  const { refetchableRequest, identifierInfo } = relay.getRefetchMetadata(orderFragment, "order");
  const variables = { [identifierInfo.identifierQueryVariableName]: id };
  await relay.fetchQuery(environment, refetchableRequest, variables).toPromise();
  return { stored, fetched: order() };
}

function newEnvironment() {
  const requests = [];
  const network = relay.Network.create(async ({ text }, variables) => {
    requests.push(variables);
    const response = await fetch(url, {
      method: "POST",
      headers: { accept: "application/graphql-response+json", "content-type": "application/json" },
      body: JSON.stringify({ query: text, variables }),
    });
    return response.json();
  });
  const store = new relay.Store(new relay.RecordSource());
  return [new relay.Environment({ network, store }), requests];
}

function read(environment, fragment, reference) {
  return environment.lookup(relay.getSingularSelector(fragment, reference)).data;
}

function reported({ environment, nodes, requests }) {
  return { orders: nodes.map((node) => read(environment, orderFragment, node)), requests: requests.length };
}
