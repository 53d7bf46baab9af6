// Owns the mounting of GraphiQL: its fetcher, its plugins, its examples, and what of it the browser keeps.
"use strict";

const EXAMPLES = [
  {
    query: `# One page of orders; put its endCursor into "after"
# and run it again for the next one.
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
    query: `# The dearest orders of a month, and about how many it
# had: an estimate is cheap however many orders match.
query DearestOrders {
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
    query: `# One order by its key, and again by its global id, as
# Relay refetches what it already holds.
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
    query: `# How many orders there are and what they come to, in
# all and by status.
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
    query: `# Change the status of one order. Run it again: its key
# is known, so nothing is changed twice ("replayed").
# For another change, put another key.
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
    "note": "Half of it is on its way.",
    "idempotencyKey": ${newKey()}
  }
}`,
  },
  {
    query: `# Who changed which status, and when, oldest first. Put
# the headCursor into the "after" of StatusChanges, and
# nothing is missed between the two.
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
    query: `# Every change of a status, as it is made. Run it, and
# change one in a second window. The cursor of the last
# event, as "after", goes on where you stopped.
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
    query: `# What stands behind the API, and the work on it. For
# operators, who plan before they do:
# mutation { teardownLakebase(input: {dryRun: true}) {
#   plan { steps { resource action message } } } }
query Lakebase {
  lakebase {
    instance {
      name
      state
      capacity
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
}
`,
  },
];

// On a page that came by plain HTTP from another machine browsers have no randomUUID. It works without a key too.
function newKey() {
  return JSON.stringify(crypto.randomUUID?.() ?? null);
}

// A namespace, because every GraphiQL on the same host and port would share its tabs with this one.
const storage = GraphiQL.createLocalStorage({ namespace: "orders" });
const keep = storage.setItem;
// `shouldPersistHeaders: false` keeps headers, and with them tokens, out of the tabs,
// but the history stores them all the same.
const HISTORY = new Set(["graphiql:queries", "graphiql:favorites"]);
storage.setItem = (key, value) => keep(key, HISTORY.has(key) ? withoutHeaders(value) : value);

function withoutHeaders(json) {
  return JSON.stringify(JSON.parse(json, (key, value) => (key === "headers" ? undefined : value)));
}

// The first visit: GraphiQL shows the first tab's query by itself, but its variables only if they are stored.
if (storage.getItem("graphiql:tabState") === null) {
  storage.setItem("graphiql:variables", EXAMPLES[0].variables);
}

ReactDOM.createRoot(document.getElementById("graphiql")).render(
  React.createElement(GraphiQL, {
    // Subscriptions go over a WebSocket, by the graphql-ws client that GraphiQL brings along. It sends the header
    // editor's headers as the payload of its `connection_init`, because a browser's WebSocket takes none.
    fetcher: GraphiQL.createFetcher({
      url: location.pathname,
      subscriptionUrl: location.origin.replace(/^http/, "ws") + location.pathname,
    }),
    plugins: [GraphiQLPluginExplorer.explorerPlugin()],
    storage,
    shouldPersistHeaders: false,
    defaultTabs: EXAMPLES,
  }),
);
