// Tests of one's own: texts, each with the fact that it shall be answered with, or none.
// They are kept in this browser's tab; a file of them is a line of JSON a test.

import { $, button, call, doing, fill, make, nameOf, say } from "./base.js";

const KEY = "revisor-cases";
let cases = stored();

function stored() {
  try { return JSON.parse(sessionStorage.getItem(KEY)) || []; } catch { return []; }
}

const same = (one, other) => ["prompt", "chat", "namespace"].every((name) => one[name] === other[name]);

// Keep a test; one of the same text makes way for it.
export function keep(made) {
  cases = [...cases.filter((one) => !same(one, made)), made];
  save();
}

function save() {
  try { sessionStorage.setItem(KEY, JSON.stringify(cases)); }
  finally { showCases(); }
}

const results = new WeakMap(); // what each case came to when it was last run

export function showCases() {
  fill("case-table", cases.map(row), "No tests yet. Ask something, and keep what came of it.");
  $("case-count").textContent = cases.length ? ` (${cases.length})` : "";
  for (const id of ["case-run", "case-save"]) $(id).disabled = !cases.length;
}

function row(one) {
  const wanted = one.fact ? [one.about || one.fact] : ["no fact", one.about ? make("div", { class: "soft" }, `near ${one.about}`) : null];
  const result = results.get(one);
  const more = [one.chat ? "chat" : null, one.namespace].filter(Boolean).join(", ");
  return make("tr", {}, make("td", { class: "text" }, one.prompt, more ? make("div", { class: "soft" }, more) : null),
    make("td", { "data-label": "Shall say" }, ...wanted.filter(Boolean)),
    make("td", { "data-label": "Now" }, result ? make("strong", { class: result.passed ? "good" : "bad" }, result.passed ? "passed" : "failed") : "not run",
      result ? make("div", { class: "soft" }, result.why) : null),
    make("td", { class: "actions" }, button("Remove", one.prompt, () => { cases = cases.filter((other) => other !== one); save(); })));
}

async function tried(one) {
  const asked = { prompt: one.prompt, chat: one.chat };
  if (one.namespace) asked.namespace = one.namespace;
  const found = await call("POST", "/explain", asked);
  const fact = found.written === null ? null : found.fact;
  const named = found.candidates.find((candidate) => candidate.id === fact);
  return { passed: fact === one.fact, why: named ? `says ${nameOf(named)}` : found.why_not };
}

$("case-run").addEventListener("click", doing(async () => {
  for (const one of cases) { results.set(one, await tried(one)); showCases(); }
  const failed = cases.filter((one) => !results.get(one)?.passed).length;
  say(failed ? `${failed} of ${cases.length} tests failed.` : `All ${cases.length} tests passed.`, failed > 0);
}));

$("case-save").addEventListener("click", () => {
  const lines = cases.map((one) => `${JSON.stringify(one)}\n`).join("");
  const link = make("a", { href: URL.createObjectURL(new Blob([lines], { type: "application/jsonl" })), download: "cases.jsonl" });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
});

// A case as a line of a file has it, or an error that says what is wrong with the line.
function parsed(line, number) {
  let read = null;
  try { read = JSON.parse(line); } catch { /* told below */ }
  const text = (value) => value === null || typeof value === "string";
  const { prompt, chat = false, namespace = null, fact = null, about = null } = read ?? {};
  if (typeof prompt !== "string" || !prompt.trim() || typeof chat !== "boolean" || ![namespace, fact, about].every(text)) {
    throw new Error(`Line ${number} of the file is no test. A line is {"prompt": "…", "chat": false, "fact": "ID" or null}.`);
  }
  return { prompt, chat, namespace, fact, about };
}

$("case-load").addEventListener("change", doing(async () => {
  const [file] = $("case-load").files;
  if (!file) return;
  const lines = (await file.text()).split("\n");
  $("case-load").value = "";
  const read = lines.flatMap((line, index) => line.trim() ? [parsed(line, index + 1)] : []);
  read.forEach(keep);
  say(`${read.length} tests read.`, false);
}));

$("case-check").addEventListener("click", doing(async () => {
  const found = await call("GET", "/check");
  const items = found.failed.map((one) => make("li", {}, make("strong", {}, one.prompt), `: ${one.reason}`, make("span", { class: "soft" }, ` ${one.id}`)));
  $("case-facts").replaceChildren(make("p", { class: items.length ? "bad" : "good" }, `${found.said} of ${found.asked} wordings of facts are answered with their fact.`),
    items.length ? make("ul", {}, ...items) : "");
}));
