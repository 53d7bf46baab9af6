// GraphiQL in a real browser: does what a person does with the page, and prints what it sees.
// node graphiql.mjs <server> <chromium> <folder for screenshots>
import { launch } from "./browser.mjs";
import { handle } from "./graphiql_window.mjs";

const [server, chromium, screenshots] = process.argv.slice(2);
const SECRET = "Bearer a-token-of-mine";
const SUBSCRIPTION = "StatusChanges";

const browser = await launch(chromium);
const context = await browser.newContext({ viewport: { width: 1400, height: 900 } });

const requests = [];
const complaints = [];
context.on("request", (request) => requests.push({ method: request.method(), url: request.url() }));
context.on("requestfailed", (request) => complaints.push(`${request.url()}: ${request.failure().errorText}`));
context.on("response", (got) => got.status() >= 400 && complaints.push(`${got.url()}: ${got.status()}`));
context.on("weberror", (error) => complaints.push(String(error.error())));
// The console logs violations of the content security policy as errors too; a page gets an event for each.
await context.addInitScript(() =>
  document.addEventListener("securitypolicyviolation", (event) =>
    console.error(`violated: ${event.effectiveDirective} by ${event.blockedURI}`),
  ),
);
context.on("console", (message) => message.type() === "error" && complaints.push(message.text()));

const { page, query, variables, headers, tabs, text, button, open, choose, write, ask, run, answer } = handle(
  await context.newPage(),
  server,
);
const stored = () => page.evaluate(() => ({ ...localStorage, ...sessionStorage, cookie: document.cookie }));

await open();
// GraphiQL stores its tabs half a second after opening. The second visit finds them.
await page.waitForFunction(() => localStorage["orders:graphiql:tabState"]);
await open();
const report = { title: await page.title(), tabs: await tabs(), examples: {} };

for (const name of report.tabs) {
  await choose(name);
  if (name === SUBSCRIPTION) continue;
  await run();
  report.examples[name] = { query: await text(query), ...(await answer()) };
}
report.subscription = await subscribe();

await choose(report.tabs[0]);
await button("Show Documentation Explorer").click();
await page.getByRole("link", { name: "Query" }).click();
await page.getByRole("link", { name: "orders", exact: true }).click();
report.documentation = await page.locator(".graphiql-plugin").innerText();
await page.screenshot({ path: `${screenshots}/documentation.png` });

await button("Show GraphiQL Explorer").click();
await page.locator(".graphiql-plugin").getByText("clerk", { exact: true }).click();
report.explored = await text(query);
await button("Hide GraphiQL Explorer").click();

await button("Open settings dialog").click();
report.settings = await page.getByRole("dialog").innerText();
await page.keyboard.press("Escape");

await ask("query A { orderCount { count } } query B { orderCount { asOf } }");
await run();
await page.getByRole("menuitem", { name: "B" }).click();
report.chosen = await answer();

await button("Headers").click();
await write(headers, JSON.stringify({ authorization: SECRET }));
await ask("{ orderCount { count } }");
const sending = page.waitForRequest(`${server}/api/graphql`);
await run();
const sent = await sending;
await answer();
await button("Show History").click();
await button("Add favorite").first().click();

await ask("{ noSuchField }");
await run();
report.wrong = await answer();
// GraphiQL stores a change half a second later. Once this query is stored, all earlier changes are.
await page.waitForFunction(() => localStorage["orders:graphiql:tabState"].includes("noSuchField"));
report.token = { secret: SECRET, sent: (await sent.allHeaders()).authorization, stored: await stored() };

const left = await tabs();
await open();
report.reloaded = { left, found: await tabs(), query: await text(query), headers: await text(headers) };

console.log(JSON.stringify({ ...report, requests, complaints }));
await browser.close();

// A subscription continues from the history's head, while a second window changes a status.
async function subscribe() {
  const opening = page.waitForEvent("websocket");
  const { headCursor } = report.examples.StatusHistory.data.orderStatusChanges;
  await choose(SUBSCRIPTION);
  await write(variables, JSON.stringify({ after: headCursor }));
  await run();
  const socket = await opening;

  const second = handle(await context.newPage(), server);
  await second.open();
  await second.choose("ChangeStatus");
  await second.run();
  const again = await second.answer();
  const { input } = JSON.parse(await second.text(second.variables));
  const another = { ...input, status: "FULFILLED", idempotencyKey: crypto.randomUUID() };
  await second.write(second.variables, JSON.stringify({ input: another }));
  await second.run();
  const changed = await second.answer();
  await second.page.close();

  const heard = await answer();
  await page.screenshot({ path: `${screenshots}/subscription.png` });
  const closing = socket.waitForEvent("close");
  await button("Stop query").click();
  await closing;
  return { query: await text(query), url: socket.url(), again, changed, heard };
}
