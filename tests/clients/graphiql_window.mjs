// A GraphiQL window as a person uses it, with its editors, tabs and buttons.
import { PATIENCE_MILLISECONDS } from "./browser.mjs";

export function handle(page, server) {
  page.setDefaultTimeout(PATIENCE_MILLISECONDS);
  const editor = (name) => page.locator(`${name} .CodeMirror`);
  const query = editor(".graphiql-query-editor");
  const response = editor(".graphiql-response");
  const [variables, headers] = [0, 1].map((index) => editor(".graphiql-editor-tool").nth(index));
  const tab = page.locator(".graphiql-tab-button");
  return { page, query, variables, headers, tab, tabs, text, button, open, choose, write, ask, run, answer, further };

  // Opens the page, and waits until it has loaded the schema.
  async function open() {
    const introspected = page.waitForResponse((found) => found.request().method() === "POST");
    await page.goto(server);
    await introspected;
    await query.waitFor();
  }

  function tabs() {
    return tab.allTextContents();
  }

  function button(name) {
    return page.getByRole("button", { name });
  }

  function text(editor) {
    return editor.evaluate((element) => element.CodeMirror.getValue());
  }

  // Goes to the tab of this name.
  async function choose(name) {
    await tab.getByText(name, { exact: true }).click();
    await parsed();
  }

  // Replaces the editor's text.
  async function write(editor, content) {
    await editor.click();
    await page.keyboard.press("Control+A");
    await page.keyboard.insertText(content);
  }

  // Replaces the query editor's document.
  async function ask(document) {
    await write(query, document);
    await parsed();
  }

  // GraphiQL parses the query editor's text a tenth of a second later, and runs the old document until then.
  async function parsed() {
    const matches = ({ CodeMirror: editor }) => editor.documentAST?.loc.source.body === editor.getValue();
    await page.waitForFunction(matches, await query.elementHandle());
  }

  async function run() {
    await button("Execute query").click();
  }

  // GraphiQL empties the editor when it sends, so the next text in it is the new response.
  async function answer() {
    await page.waitForFunction((element) => element.CodeMirror.getValue(), await response.elementHandle());
    return JSON.parse(await text(response));
  }

  // The text as soon as it differs from this one.
  async function further(known) {
    const differs = ([element, before]) => {
      const now = element.CodeMirror.getValue();
      return now !== "" && now !== before && now;
    };
    const found = await page.waitForFunction(differs, [await response.elementHandle(), known]);
    return found.jsonValue();
  }
}
