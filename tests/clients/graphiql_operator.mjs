// GraphiQL for operators: plans, runs and watches operations, and prints what it sees at once.
// It starts each operation when it reads a line. At the end it runs each of these documents as pasted, and waits for the end of
// what each begins.
// node graphiql_operator.mjs <server> <chromium> <folder for screenshots> <documents with their operations' names as JSON>
import { createInterface } from "node:readline";
import { launch } from "./browser.mjs";
import { handle } from "./graphiql_window.mjs";

const [server, chromium, screenshots, documents] = process.argv.slice(2);
const PROGRESS = `subscription Watch($id: ID!) {
  operationProgress(id: $id) { state progress durable steps { name state progress message } }
}`;
const begin = (mutation, input) => `mutation {
  ${mutation}(input: {${input}}) {
    operation { id }
    plan { statusChangesLost steps { resource action exists message } }
    userErrors { code message }
  }
}`;

const browser = await launch(chromium);
const context = await browser.newContext({ viewport: { width: 1400, height: 900 } });
const complaints = [];
context.on("weberror", (error) => complaints.push(String(error.error())));
context.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
const { page, variables, open, choose, write, ask, run, answer, further, button } = handle(
  await context.newPage(),
  server,
);
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const say = (seen) => console.log(JSON.stringify(seen));

await open();
await choose("Lakebase");
await run();
const glance = await answer();
await page.screenshot({ path: `${screenshots}/lakebase.png` });
await ask(begin("teardownLakebase", "dryRun: true"));
await run();
say({ glance, plan: await answer() });
await page.screenshot({ path: `${screenshots}/plan.png` });
for (const [mutation, input] of [
  ["refreshSyncedTable", ""],
  ["teardownLakebase", "confirmDeletion: true, discardStatusChanges: true, purge: true"],
  ["provisionLakebase", "acknowledgeCost: true"],
]) {
  await lines.next();
  await watch(mutation, input);
}
const { headCursor } = (await post("{ orderStatusChanges(first: 0) { headCursor } }")).orderStatusChanges;
const [{ id }] = (await post("{ operations(first: 1) { nodes { id } } }")).operations.nodes;
const pasted = [];
for (const { text, names } of JSON.parse(documents)) {
  await ask(text);
  const after = names.includes("Changes") ? headCursor : null;
  await write(variables, JSON.stringify({ after, first: 3, id, key: crypto.randomUUID(), to: new Date().toISOString() }));
  for (const name of names) pasted.push({ name, answer: await pastedRun(name, names.length > 1) });
  await page.screenshot({ path: `${screenshots}/pasted-${names[0]}.png` });
}
say({ complaints, pasted });
await browser.close();

// Runs one operation of the document, chosen from the menu if there are several.
async function pastedRun(name, several) {
  await run();
  if (several) await page.getByRole("menuitem", { name, exact: true }).click();
  const answered = await answer();
  if (await button("Stop query").count()) await button("Stop query").click();
  const begun = Object.values(answered.data ?? {}).find((payload) => payload?.operation?.id)?.operation.id;
  return begun ? { ...answered, ended: await ended(begun, name) } : answered;
}

// The operation as soon as it has ended, and the server can answer again unless this was a stop.
async function ended(id, name) {
  for (;;) {
    const found = (await post(`{ operation(id: "${id}") { state failure { message } } }`))?.operation;
    const over = ["SUCCEEDED", "FAILED", "CANCELLED"].includes(found?.state);
    if (over && (name === "Stop" || (await fetch(`${server}/readyz`)).ok)) return found;
    await new Promise((resolve) => setTimeout(resolve, 50)); // the server does not report this to us
  }
}

async function post(query) {
  const headers = { "content-type": "application/json" };
  const response = await fetch(`${server}/api/graphql`, { method: "POST", headers, body: JSON.stringify({ query }) });
  return (await response.json()).data;
}

// Starts an operation, and prints what the subscription shows until it ends.
async function watch(mutation, input) {
  await ask(begin(mutation, input));
  await run();
  const { id } = (await answer()).data[mutation].operation;
  await ask(PROGRESS);
  await write(variables, JSON.stringify({ id }));
  await run();
  for (let shown = ""; ; ) {
    shown = await further(shown);
    const { operationProgress: now } = JSON.parse(shown).data;
    say(now);
    await page.screenshot({ path: `${screenshots}/${mutation}-${Math.round(now.progress * 100)}.png` });
    if (["SUCCEEDED", "FAILED", "CANCELLED"].includes(now.state)) break;
  }
  if (await button("Stop query").count()) await button("Stop query").click();
}
