// PostGraphile 5 on Node's http: its generated schema, with only the tables and columns renamed.
import { createServer } from "node:http";
import { grafserv } from "postgraphile/grafserv/node";
import { makePgService } from "postgraphile/adaptors/pg";
import { PostGraphileAmberPreset } from "postgraphile/presets/amber";
import { jsonPgSmartTags } from "postgraphile/utils";
import { postgraphile } from "postgraphile";

const [tableSchema, table] = process.env.ORDERS_TABLE.split(".");
const peersSchema = process.env.PEERS_SCHEMA;
const names = {
  o_orderkey: "orderKey",
  o_custkey: "customerKey",
  o_orderstatus: "syncedStatus",
  o_totalprice: "totalPrice",
  o_orderdate: "orderDate",
  o_orderpriority: "orderPriority",
  o_clerk: "clerk",
  o_shippriority: "shipPriority",
  o_comment: "comment",
};
const attribute = Object.fromEntries(Object.entries(names).map(([column, name]) => [column, { tags: { name } }]));
const tags = jsonPgSmartTags({
  version: 1,
  config: {
    class: {
      [`${tableSchema}.${table}`]: {
        tags: { name: "orders" },
        attribute,
        constraint: { [`${table}_pkey`]: { tags: { fieldName: "order" } } },
      },
      [`${peersSchema}.merged_orders`]: { tags: { name: "merged_orders", primaryKey: "o_orderkey" }, attribute },
    },
  },
});
// `orders` instead of `allOrders`.
const shortNames = {
  name: "ShortNamesPlugin",
  version: "1.0.0",
  inflection: {
    replace: {
      _allRows(previous, options, resource) {
        return this.camelCase(this.pluralize(this._singularizedResourceName(resource)));
      },
    },
  },
};

const instance = postgraphile({
  extends: [PostGraphileAmberPreset],
  plugins: [tags, shortNames],
  pgServices: [
    makePgService({
      connectionString: process.env.DATABASE_URL,
      schemas: [tableSchema, peersSchema],
      poolConfig: { max: 10 },
    }),
  ],
  grafserv: { graphqlPath: "/graphql", graphiql: false, watch: false },
});
const server = createServer();
const serving = instance.createServ(grafserv);
await serving.addTo(server);
server.keepAliveTimeout = 30_000;
server.listen(Number(process.env.PORT), "127.0.0.1");
