// Owns GraphiQL's part: does in a real browser what a person does with the page, and reports what it saw.
// node graphiql.mjs <server> <chromium> <screenshot>
import { chromium } from "playwright-core";

const [server, executablePath, screenshot] = process.argv.slice(2);
const SECRET = "Bearer a-token-of-mine";

const browser = await chromium.launch({
  executablePath,
  args: [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
  ],
});
const page = await browser.newPage({ viewport: { width: 1400, height: 900 } });
page.setDefaultTimeout(15_000);

const requests = [];
const complaints = [];
page.on("request", (request) => requests.push({ method: request.method(), url: request.url() }));
page.on("requestfailed", (request) => complaints.push(`${request.url()}: ${request.failure().errorText}`));
page.on("response", (got) => got.status() >= 400 && complaints.push(`${got.url()}: ${got.status()}`));
page.on("pageerror", (error) => complaints.push(String(error)));
// What the content security policy blocks is written to the console as an error too.
page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));

const query = page.locator(".graphiql-query-editor .CodeMirror");
const response = page.locator(".graphiql-response .CodeMirror");
const headers = page.locator(".graphiql-editor-tool .CodeMirror").nth(1);
const text = (editor) => editor.evaluate((element) => element.CodeMirror.getValue());
const button = (name) => page.getByRole("button", { name });
const tab = page.locator(".graphiql-tab-button");
const tabs = () => tab.allTextContents();
const stored = () => page.evaluate(() => ({ ...localStorage, ...sessionStorage, cookie: document.cookie }));

await open();
// GraphiQL stores its tabs half a second after opening. The second visit finds them, as every later one does.
await page.waitForFunction(() => localStorage["orders:graphiql:tabState"]);
await open();
const report = { title: await page.title(), tabs: await tabs(), examples: {} };

for (const [index, name] of report.tabs.entries()) {
  await tab.nth(index).click();
  await parsed();
  await button("Execute query").click();
  report.examples[name] = { query: await text(query), ...JSON.parse(await answer()) };
}

await tab.first().click();
await parsed();
await button("Show Documentation Explorer").click();
await page.getByRole("link", { name: "Query" }).click();
await page.getByRole("link", { name: "orders", exact: true }).click();
report.documentation = await page.locator(".graphiql-plugin").innerText();
await page.screenshot({ path: screenshot });

await button("Show GraphiQL Explorer").click();
await page.locator(".graphiql-plugin").getByText("clerk", { exact: true }).click();
report.explored = await text(query);
await button("Hide GraphiQL Explorer").click();

await button("Open settings dialog").click();
report.settings = await page.getByRole("dialog").innerText();
await page.keyboard.press("Escape");

await ask("query A { orderCount { count } } query B { orderCount { asOf } }");
await button("Execute query").click();
await page.getByRole("menuitem", { name: "B" }).click();
report.chosen = JSON.parse(await answer());

await button("Headers").click();
await write(headers, JSON.stringify({ authorization: SECRET }));
await ask("{ orderCount { count } }");
const sending = page.waitForRequest(`${server}/api/graphql`);
await button("Execute query").click();
const sent = await sending;
await answer();
await button("Show History").click();
await button("Add favorite").first().click();

await ask("{ noSuchField }");
await button("Execute query").click();
report.wrong = JSON.parse(await answer());
// GraphiQL stores a change half a second later. Once it has stored this query it has stored all before it.
await page.waitForFunction(() => localStorage["orders:graphiql:tabState"].includes("noSuchField"));
report.token = { secret: SECRET, sent: (await sent.allHeaders()).authorization, stored: await stored() };

const left = await tabs();
await open();
report.reloaded = { left, found: await tabs(), query: await text(query), headers: await text(headers) };

console.log(JSON.stringify({ ...report, requests, complaints }));
await browser.close();

// Opens the page, and waits until it knows the schema.
async function open() {
  const introspected = page.waitForResponse((found) => found.request().method() === "POST");
  await page.goto(server);
  await introspected;
  await query.waitFor();
}

// Has the editor hold this text and no other.
async function write(editor, content) {
  await editor.click();
  await page.keyboard.press("Control+A");
  await page.keyboard.insertText(content);
}

// Has the query editor hold this document.
async function ask(document) {
  await write(query, document);
  await parsed();
}

// GraphiQL parses what is in the query editor a tenth of a second later; until then it runs the old one.
async function parsed() {
  const matches = ({ CodeMirror: editor }) => editor.documentAST?.loc.source.body === editor.getValue();
  await page.waitForFunction(matches, await query.elementHandle());
}

// GraphiQL empties the editor when it sends, so that what is there later is the new answer.
async function answer() {
  await page.waitForFunction((element) => element.CodeMirror.getValue(), await response.elementHandle());
  return text(response);
}
