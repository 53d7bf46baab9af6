// A browser's EventSource: prints each event that a page of the server gets, until the input ends.
// node event_source.mjs <chromium> <server> <cursor> [recipe]
// With `recipe` the EventSource is that of schema/CLIENTS.md, behind a proxy. At a line of input the proxy cuts the
// connection, and answers the next request with a 502.
import http from "node:http";
import { createInterface } from "node:readline";
import { launch, open } from "./browser.mjs";
import { recipes } from "./recipes.mjs";

const [chromium, server, after, way] = process.argv.slice(2);
// The cursor is the event's id even if it is not selected.
const query = `subscription Changed($after: String) {
  orderStatusChanged(after: $after) { cursor orderKey status version }
}`;
const say = (event) => console.log(JSON.stringify(event));
let cut = () => {};

const browser = await launch(chromium);
const page = await open(browser, `${way ? await proxied() : server}/livez`);
await page.exposeFunction("say", say);
if (way) {
  // The code is one text: the page's security policy would forbid it to make a function from a text itself.
  const values = [query, after].map((value) => JSON.stringify(value));
  await page.evaluate(
    `(() => { ${recipes["follow.js"]}; follow(${values}, ({ data }) => say(data.orderStatusChanged)) })()`,
  );
} else {
  const parameters = new URLSearchParams({ query, variables: JSON.stringify({ after }) });
  await page.evaluate((url) => {
    const source = new EventSource(url);
    source.addEventListener("next", ({ data, lastEventId }) =>
      say({ ...JSON.parse(data).data.orderStatusChanged, cursor: lastEventId }),
    );
    source.addEventListener("complete", () => say("complete"));
  }, `/api/graphql/stream?${parameters}`);
}
createInterface({ input: process.stdin })
  .on("line", () => cut())
  .on("close", () => process.exit());

// Starts a proxy of the server and returns its address. After a cut, the proxy answers one request with a 502.
async function proxied() {
  let broken = false;
  const sockets = new Set();
  const proxy = http.createServer((request, response) => {
    if (broken && request.url.startsWith("/api")) {
      broken = false;
      say("502");
      return response.writeHead(502).end();
    }
    const { method, headers } = request;
    http
      .request(server + request.url, { method, headers }, (answer) => {
        response.writeHead(answer.statusCode, answer.headers);
        answer.pipe(response);
      })
      .on("error", () => response.destroy())
      .end();
  });
  proxy.on("connection", (socket) => sockets.add(socket));
  await new Promise((resolve) => proxy.listen(0, "127.0.0.1", resolve));
  cut = () => {
    broken = true;
    for (const socket of sockets) socket.destroy();
    sockets.clear();
  };
  return `http://127.0.0.1:${proxy.address().port}`;
}
