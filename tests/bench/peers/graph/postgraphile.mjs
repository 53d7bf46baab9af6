// PostGraphile 5 on Node's http: its generated schema, with tables and columns renamed, and the foreign keys named.
import { createServer } from "node:http";
import { grafserv } from "postgraphile/grafserv/node";
import { makePgService } from "postgraphile/adaptors/pg";
import { PostGraphileAmberPreset } from "postgraphile/presets/amber";
import { jsonPgSmartTags } from "postgraphile/utils";
import { postgraphile } from "postgraphile";

const peersSchema = process.env.PEERS_SCHEMA;
const attributes = (names) =>
  Object.fromEntries(Object.entries(names).map(([column, name]) => [column, { tags: { name } }]));
// A synced table has no foreign keys. These tags stand for them.
const tags = jsonPgSmartTags({
  version: 1,
  config: {
    class: {
      [`${peersSchema}.merged_orders`]: {
        tags: {
          name: "merged_orders",
          primaryKey: "o_orderkey",
          foreignKey: "(o_custkey) references public.customer_synced (c_custkey)|@fieldName customer",
        },
        attribute: attributes({ o_orderkey: "orderKey", o_totalprice: "totalPrice", o_orderdate: "orderDate" }),
      },
      "public.customer_synced": {
        tags: {
          name: "customers",
          foreignKey: "(c_nationkey) references public.nation_synced (n_nationkey)|@fieldName nation",
        },
        attribute: attributes({ c_name: "name", c_mktsegment: "marketSegment" }),
      },
      "public.nation_synced": { tags: { name: "nations" }, attribute: attributes({ n_name: "name" }) },
      "public.lineitem_synced": {
        tags: {
          name: "line_items",
          foreignKey: [
            `(l_orderkey) references ${peersSchema}.merged_orders (o_orderkey)|@foreignFieldName lineItems`,
            "(l_partkey) references public.part_synced (p_partkey)|@fieldName part",
          ],
        },
        attribute: attributes({
          l_linenumber: "lineNumber",
          l_quantity: "quantity",
          l_extendedprice: "extendedPrice",
          l_shipdate: "shipDate",
        }),
      },
      "public.part_synced": { tags: { name: "parts" }, attribute: attributes({ p_name: "name", p_brand: "brand" }) },
    },
  },
});
// `mergedOrders` instead of `allMergedOrders`.
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
      schemas: ["public", peersSchema],
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
