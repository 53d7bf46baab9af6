// Mercurius with jit: one handwritten prepared statement for each field, and a batching loader for each relation.
import Fastify from "fastify";
import mercurius from "mercurius";
import pg from "pg";

const DATE = 1082;
// Keep dates as text, as in the response: a JavaScript Date would be converted there and back.
pg.types.setTypeParser(DATE, (text) => text);
const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL, max: 10 });

const statements = {
  orders: `
    SELECT o_orderkey AS "orderKey", o_custkey AS "customerKey", o_totalprice AS "totalPrice",
      o_orderdate AS "orderDate", status
    FROM ${process.env.PEERS_SCHEMA}.merged_orders WHERE o_orderkey > $1 ORDER BY o_orderkey LIMIT $2`,
  customers: `
    SELECT c_custkey AS key, c_name AS name, c_mktsegment AS "marketSegment", c_nationkey AS "nationKey"
    FROM public.customer_synced WHERE c_custkey = ANY($1::bigint[])`,
  nations: `SELECT n_nationkey AS key, n_name AS name FROM public.nation_synced WHERE n_nationkey = ANY($1::bigint[])`,
  lineItems: `
    SELECT wanted.number, line.*
    FROM unnest($1::bigint[], $2::integer[]) WITH ORDINALITY AS wanted (key, size, number)
    CROSS JOIN LATERAL (
      SELECT l_linenumber AS "lineNumber", l_quantity AS quantity, l_extendedprice AS "extendedPrice",
        l_shipdate AS "shipDate", l_partkey AS "partKey"
      FROM public.lineitem_synced WHERE l_orderkey = wanted.key ORDER BY l_linenumber LIMIT wanted.size
    ) AS line`,
  parts: `
    SELECT p_partkey AS key, p_name AS name, p_brand AS brand
    FROM public.part_synced WHERE p_partkey = ANY($1::bigint[])`,
};

const schema = `
  scalar BigInt
  scalar Decimal
  scalar Date
  enum OrderStatus { OPEN FULFILLED PARTIAL }
  type Nation { name: String! }
  type Customer { name: String! marketSegment: String! nation: Nation }
  type Part { name: String! brand: String! }
  type LineItem { lineNumber: Int! quantity: Decimal! extendedPrice: Decimal! shipDate: Date! part: Part }
  type LineItemConnection { nodes: [LineItem!]! }
  type Order {
    orderKey: BigInt! status: OrderStatus! totalPrice: Decimal! orderDate: Date!
    customer: Customer lineItems(first: Int!): LineItemConnection!
  }
  type PageInfo { hasNextPage: Boolean! endCursor: String }
  type OrderConnection { nodes: [Order!]! pageInfo: PageInfo! }
  type Query { orders(first: Int!, after: String): OrderConnection! }
`;
const statuses = { O: "OPEN", F: "FULFILLED", P: "PARTIAL" };

const cursorOf = (key) => Buffer.from(key).toString("base64");
const keyOf = (cursor) => Buffer.from(cursor, "base64").toString();

async function rows(name, ...values) {
  const result = await pool.query({ name, text: statements[name], values });
  return result.rows;
}

async function byKey(name, keys) {
  const found = new Map((await rows(name, [...new Set(keys)])).map((row) => [row.key, row]));
  return keys.map((key) => found.get(key) ?? null);
}

const resolvers = {
  Query: {
    async orders(_, { first, after }) {
      const nodes = await rows("orders", after ? keyOf(after) : "0", first + 1);
      const hasNextPage = nodes.length > first;
      if (hasNextPage) nodes.pop();
      for (const node of nodes) node.status = statuses[node.status];
      const last = nodes.at(-1);
      return { nodes, pageInfo: { hasNextPage, endCursor: last ? cursorOf(last.orderKey) : null } };
    },
  },
};

// The loaders' own caches serialise each parent for its key, which costs more than it saves at pages of 10.
const opts = { cache: false };
const loaders = {
  Order: {
    customer: { loader: (queries) => byKey("customers", queries.map(({ obj }) => obj.customerKey)), opts },
    lineItems: {
      async loader(queries) {
        const keys = queries.map(({ obj }) => obj.orderKey);
        const found = await rows("lineItems", keys, queries.map(({ params }) => params.first));
        const connections = queries.map(() => ({ nodes: [] }));
        for (const row of found) connections[row.number - 1].nodes.push(row);
        return connections;
      },
      opts,
    },
  },
  Customer: {
    nation: { loader: (queries) => byKey("nations", queries.map(({ obj }) => obj.nationKey)), opts },
  },
  LineItem: {
    part: { loader: (queries) => byKey("parts", queries.map(({ obj }) => obj.partKey)), opts },
  },
};

const app = Fastify({ keepAliveTimeout: 30_000 });
app.register(mercurius, { schema, resolvers, loaders, jit: 1 });
await app.listen({ host: "127.0.0.1", port: Number(process.env.PORT) });
