// Mounts GraphiQL: its fetcher, plugins and examples, and what the browser stores of them.
"use strict";

// `tables` are those that an example needs beside the orders, by their names in the setting TABLES.
const EXAMPLES = [
  {
    query: `# One page of orders. For the next page, put its
# endCursor into "after" and run the query again.
query OrdersPage($first: Int, $after: String) {
  orders(first: $first, after: $after) {
    nodes {
      id
      orderKey
      orderDate
      status
      totalPrice
    }
    pageInfo {
      hasNextPage
      endCursor
    }
  }
}
`,
    variables: `{
  "first": 10,
  "after": null
}`,
  },
  {
    query: `# The most expensive orders of a month, and about how
# many it had. An estimate is cheap for any filter.
query MostExpensiveOrders {
  orders(
    first: 10
    filter: { orderDate: { gte: "1996-01-01", lt: "1996-02-01" } }
    orderBy: { field: TOTAL_PRICE, direction: DESC }
  ) {
    totalCount(precision: ESTIMATED)
    nodes {
      orderKey
      orderDate
      totalPrice
      orderPriority
    }
  }
}
`,
  },
  {
    query: `# A list of the order desk: what was changed here since
# then, and the sync has overtaken or is not fulfilled.
query ChangedLately($since: DateTime!) {
  orders(
    first: 20
    filter: {
      statusUpdatedAt: { gte: $since }
      or: [
        { statusSuperseded: { eq: true } }
        { not: { status: { eq: FULFILLED } } }
      ]
    }
  ) {
    nodes {
      orderKey
      status
      syncedStatus
      statusSuperseded
      statusUpdatedAt
      statusUpdatedBy
    }
  }
}
`,
    variables: `{
  "since": "2026-01-01T00:00:00Z"
}`,
  },
  {
    query: `# The orders whose status was changed last, the most
# expensive of each moment first. Most orders were never
# changed: with "nulls: LAST" they come after all others.
query ChangedLast {
  orders(
    first: 10
    orderBy: [
      { field: STATUS_UPDATED_AT, direction: DESC, nulls: LAST }
      { field: TOTAL_PRICE, direction: DESC }
    ]
  ) {
    nodes {
      orderKey
      status
      statusUpdatedAt
      totalPrice
    }
    pageInfo {
      hasNextPage
      endCursor
    }
  }
}
`,
  },
  {
    query: `# One order by its key, and again by its global id, by
# which Relay refetches an object.
query OneOrder($orderKey: BigInt!, $id: ID!) {
  order(orderKey: $orderKey) {
    id
    ...Details
  }
  node(id: $id) {
    __typename
    id
    ...Details
  }
}

fragment Details on Order {
  orderKey
  customerKey
  status
  totalPrice
  orderDate
  orderPriority
}
`,
    variables: `{
  "orderKey": "1",
  "id": "T3JkZXI6MQ=="
}`,
  },
  {
    tables: ["customers", "line_items", "nations", "parts", "regions"],
    query: `# Everything that a page about one order shows: who
# placed it, and its line items with their parts. For more
# lines, put the endCursor into "after".
query OrderDetails($orderKey: BigInt!, $after: String) {
  order(orderKey: $orderKey) {
    orderKey
    status
    orderDate
    totalPrice
    customer {
      name
      marketSegment
      nation {
        name
        region {
          name
        }
      }
    }
    lineItems(first: 10, after: $after) {
      totalCount
      nodes {
        lineNumber
        quantity
        extendedPrice
        discount
        tax
        status
        shipDate
        part {
          name
          brand
          container
        }
      }
      pageInfo {
        hasNextPage
        endCursor
      }
    }
  }
}
`,
    variables: `{
  "orderKey": "1",
  "after": null
}`,
  },
  {
    query: `# The number of orders and their total prices: of all
# orders, and by status.
query StatsByStatus {
  orderStats {
    count
    totalPrice {
      sum
      average
    }
    byStatus {
      status
      count
      totalPrice {
        sum
        minimum
        maximum
      }
    }
    asOf
  }
}
`,
  },
  {
    query: `# A year by month and status, in one field. Orders can be
# grouped by one or two values; "truncated" says whether
# there are more groups than "first".
query YearByMonthAndStatus {
  orderGroups(
    by: [ORDER_MONTH, STATUS]
    filter: { orderDate: { gte: "1996-01-01", lt: "1997-01-01" } }
    orderBy: { field: KEYS, direction: ASC }
    first: 100
  ) {
    groups {
      orderMonth
      status
      count
      totalPrice {
        sum
        average
      }
    }
    truncated
    asOf
  }
}
`,
  },
  {
    query: `# How old the synced rows of a page are. Without a
# Lakebase the freshness is null. Select it alone (here
# as "now"), and the database sleeps on.
query HowFresh {
  orders(first: 3) {
    nodes {
      orderKey
      status
    }
    freshness {
      syncedAt
      ageSeconds
      sourceVersion
      sourceCommittedAt
    }
  }
  now: freshness {
    state
    policy
  }
}
`,
  },
  {
    query: `# Change the status of one order. Run it again: the
# server knows the key and changes nothing ("replayed").
# For another change, use another key.
mutation ChangeStatus($input: SetOrderStatusInput!) {
  setOrderStatus(input: $input) {
    order {
      orderKey
      status
      statusVersion
      syncedStatus
    }
    previousStatus
    replayed
    userErrors {
      code
      message
    }
  }
}
`,
    variables: `{
  "input": {
    "orderKey": "1",
    "status": "PARTIAL",
    "note": "The first half was shipped.",
    "idempotencyKey": ${newKey()}
  }
}`,
  },
  {
    query: `# Who changed which status, and when, oldest first. Put
# the headCursor into "after" of StatusChanges, so that
# no change between the two is missed.
query StatusHistory($first: Int, $after: String) {
  orderStatusChanges(first: $first, after: $after) {
    nodes {
      orderKey
      previousStatus
      status
      changedBy
      changedAt
      note
    }
    pageInfo {
      hasNextPage
      endCursor
    }
    headCursor
  }
}
`,
    variables: `{
  "first": 10,
  "after": null
}`,
  },
  {
    query: `# Every status change as it is made. Run this, then
# change a status in a second window. To resume, put the
# cursor of the last event into "after".
subscription StatusChanges($after: String) {
  orderStatusChanged(after: $after) {
    cursor
    orderKey
    previousStatus
    status
    changedBy
    changedAt
    note
  }
}
`,
    variables: `{
  "after": null
}`,
  },
  {
    query: `# The database behind the API, the operations on it,
# and their audit, for operators. A dry run shows the plan first:
# mutation { teardownLakebase(input: {dryRun: true}) {
#   plan { steps { resource action message } } } }
# An operation that is not needed any more can be cancelled:
# mutation { cancelOperation(input: {id: "..."}) {
#   operation { state } userErrors { message } } }
query Lakebase {
  lakebase {
    instance {
      name
      state
      minCu
      maxCu
      suspended
      host
    }
    catalog {
      name
      databaseName
    }
    syncedTable {
      name
      state
      rowsSynced
      rowsTotal
      lastSyncFinishedAt
      pipelineUrl
    }
  }
  operations(first: 5) {
    nodes {
      id
      kind
      state
      progress
      requestedBy
      requestedAt
    }
  }
  adminAudit(first: 5) {
    nodes {
      at
      principal
      action
      outcome
      reason
      count
      input
    }
  }
}
`,
  },
];

// The server names the tables that it serves. An example of others would be a document that does not match the schema.
const SERVED = new Set(document.body.dataset.tables.split(" "));
const SHOWN = EXAMPLES.filter(({ tables = [] }) => tables.every((table) => SERVED.has(table)));

// Browsers have no randomUUID on a page from another machine over plain HTTP. The example works without a key too.
function newKey() {
  return JSON.stringify(crypto.randomUUID?.() ?? null);
}

// A namespace, because otherwise every GraphiQL on this host and port would share its tabs.
const storage = GraphiQL.createLocalStorage({ namespace: "orders" });
const keep = storage.setItem;
// `shouldPersistHeaders: false` keeps headers, and so tokens, out of the stored tabs. The history stores them anyway.
const HISTORY = new Set(["graphiql:queries", "graphiql:favorites"]);
storage.setItem = (key, value) => keep(key, HISTORY.has(key) ? withoutHeaders(value) : value);

function withoutHeaders(json) {
  return JSON.stringify(JSON.parse(json, (key, value) => (key === "headers" ? undefined : value)));
}

// On the first visit GraphiQL shows the first tab's query by itself, but its variables only if they are stored.
if (storage.getItem("graphiql:tabState") === null) {
  storage.setItem("graphiql:variables", SHOWN[0].variables);
}

ReactDOM.createRoot(document.getElementById("graphiql")).render(
  React.createElement(GraphiQL, {
    // Subscriptions use GraphiQL's own graphql-ws client over a WebSocket. A browser's WebSocket cannot set headers, so
    // the client sends those of the header editor as the payload of `connection_init`.
    fetcher: GraphiQL.createFetcher({
      url: location.pathname,
      subscriptionUrl: location.origin.replace(/^http/, "ws") + location.pathname,
    }),
    plugins: [GraphiQLPluginExplorer.explorerPlugin()],
    storage,
    shouldPersistHeaders: false,
    defaultTabs: SHOWN.map(({ query, variables }) => ({ query, variables })),
  }),
);
