// Mercurius with jit: one handwritten prepared statement for each field, on a pool of pg.
import Fastify from "fastify";
import mercurius from "mercurius";
import pg from "pg";

const DATE = 1082;
// Keep dates as text, as in the response: a JavaScript Date would be converted there and back.
pg.types.setTypeParser(DATE, (text) => text);
const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL, max: 10 });

const { ORDERS_TABLE: table, PEERS_SCHEMA: peers } = process.env;
const columns = `
  o_orderkey AS "orderKey", o_custkey AS "customerKey", o_totalprice AS "totalPrice", o_orderdate AS "orderDate",
  o_orderpriority AS "orderPriority", o_clerk AS clerk, o_shippriority AS "shipPriority", o_comment AS comment`;
const forward = (from, selected) => `SELECT ${selected} FROM ${from} WHERE o_orderkey > $1 ORDER BY o_orderkey LIMIT $2`;
const statements = {
  orders: forward(table, columns),
  mergedOrders: forward(`${peers}.merged_orders`, `${columns}, status`),
  filtered: `
    SELECT ${columns} FROM ${table}
    WHERE o_orderkey > $1 AND o_orderdate >= $3 AND o_orderdate < $4 AND o_totalprice >= $5
    ORDER BY o_orderkey LIMIT $2`,
  backward: `SELECT ${columns} FROM ${table} WHERE o_orderkey < $1 ORDER BY o_orderkey DESC LIMIT $2`,
  order: `SELECT ${columns} FROM ${table} WHERE o_orderkey = $1`,
};

const schema = `
  scalar BigInt
  scalar Decimal
  scalar Date
  enum OrderPriority { URGENT HIGH MEDIUM NOT_SPECIFIED LOW }
  enum OrderStatus { OPEN FULFILLED PARTIAL }
  type Order {
    orderKey: BigInt! customerKey: BigInt! totalPrice: Decimal! orderDate: Date! orderPriority: OrderPriority!
    clerk: String! shipPriority: Int! comment: String! status: OrderStatus
  }
  type OrderEdge { cursor: String! node: Order! }
  type PageInfo { hasNextPage: Boolean! hasPreviousPage: Boolean! startCursor: String endCursor: String }
  type OrderConnection { edges: [OrderEdge!]! pageInfo: PageInfo! }
  input OrderDateFilter { gte: Date lt: Date }
  input TotalPriceFilter { gte: Decimal }
  input OrderFilter { orderDate: OrderDateFilter! totalPrice: TotalPriceFilter! }
  type Query {
    orders(first: Int, after: String, last: Int, before: String, filter: OrderFilter): OrderConnection!
    mergedOrders(first: Int!, after: String!): OrderConnection!
    order(orderKey: BigInt!): Order
  }
`;
const priorities = {
  "1-URGENT": "URGENT",
  "2-HIGH": "HIGH",
  "3-MEDIUM": "MEDIUM",
  "4-NOT SPECIFIED": "NOT_SPECIFIED",
  "5-LOW": "LOW",
};
const statuses = { O: "OPEN", F: "FULFILLED", P: "PARTIAL" };

const cursorOf = (key) => Buffer.from(key).toString("base64");
const keyOf = (cursor) => Buffer.from(cursor, "base64").toString();

async function rows(name, ...values) {
  const result = await pool.query({ name, text: statements[name], values });
  for (const row of result.rows) {
    row.orderPriority = priorities[row.orderPriority];
    if (row.status) row.status = statuses[row.status];
  }
  return result.rows;
}

function page(found, size, backward) {
  const more = found.length > size;
  if (more) found.pop();
  if (backward) found.reverse();
  const edges = found.map((node) => ({ cursor: cursorOf(node.orderKey), node }));
  return {
    edges,
    pageInfo: {
      hasNextPage: backward || more,
      hasPreviousPage: !backward || more,
      startCursor: edges[0]?.cursor ?? null,
      endCursor: edges.at(-1)?.cursor ?? null,
    },
  };
}

const resolvers = {
  Query: {
    async orders(_, { first, after, last, before, filter }) {
      if (before) return page(await rows("backward", keyOf(before), last + 1), last, true);
      if (!filter) return page(await rows("orders", keyOf(after), first + 1), first, false);
      const { orderDate, totalPrice } = filter;
      const values = [keyOf(after), first + 1, orderDate.gte, orderDate.lt, totalPrice.gte];
      return page(await rows("filtered", ...values), first, false);
    },
    async mergedOrders(_, { first, after }) {
      return page(await rows("mergedOrders", keyOf(after), first + 1), first, false);
    },
    async order(_, { orderKey }) {
      const [found] = await rows("order", orderKey);
      return found ?? null;
    },
  },
};

const app = Fastify({ keepAliveTimeout: 30_000 });
app.register(mercurius, { schema, resolvers, jit: 1 });
await app.listen({ host: "127.0.0.1", port: Number(process.env.PORT) });
