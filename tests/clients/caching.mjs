// A browser's cache and queries by GET: a page sends a query twice, changes a status, and sends it again.
// node caching.mjs <chromium> <server>...
import { launch, open } from "./browser.mjs";

const [chromium, ...servers] = process.argv.slice(2);
const browser = await launch(chromium);
const report = [];
for (const server of servers) report.push(await ask(server));
console.log(JSON.stringify(report));
await browser.close();

async function ask(server) {
  const page = await open(browser, `${server}/livez`);
  return page.evaluate(async () => {
    const get = async () => {
      const query = "{ orders(first: 200) { nodes { orderKey status comment } } }";
      const response = await fetch(`/api/graphql?query=${encodeURIComponent(query)}`);
      const { data } = await response.json();
      return { status: data.orders.nodes[0].status, id: response.headers.get("x-request-id") };
    };
    const set = (status) =>
      fetch("/api/graphql", {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ query: `mutation { setOrderStatus(input: {orderKey: 1, status: ${status}}) { replayed } }` }),
      });
    const answers = [];
    for (const status of ["OPEN", "FULFILLED", "OPEN"]) {
      await set(status);
      // The first response to a text has other white space.
      answers.push(await get(), await get(), await get());
    }
    return answers;
  });
}
