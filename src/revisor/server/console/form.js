// The one form in which facts are added and changed.

import { $, call, doing, factPath, make, say } from "./base.js";

const LISTS = ["aliases", "paraphrases"];
const NAMING = ["subject", "prompt", "namespace"]; // which fact it is; these do not change
const FIELDS = [...NAMING, "object", "reverse", "source", "valid_from", "valid_to", ...LISTS];
const field = (name) => $(`f-${name}`);

// What a field holds, as the server takes it.
function value(name) {
  const text = field(name).value;
  if (LISTS.includes(name)) return text.split("\n").map((line) => line.trim()).filter(Boolean);
  return text.trim() || null;
}

function record() {
  const filled = FIELDS.map((name) => [name, value(name)]).filter(([, held]) => held !== null && held.length);
  return Object.fromEntries(filled);
}

let old = null; // the fact that is changed; null while a new one is made
let text = ""; // of the question that a new fact shall answer

// Show the form and return what was written and the server's answer to it, or null.
function opened(heading, verb, given) {
  for (const name of FIELDS) {
    const held = given[name];
    field(name).defaultValue = Array.isArray(held) ? held.join("\n") : held ?? "";
    field(name).disabled = old !== null && NAMING.includes(name);
  }
  $("fact-form").reset();
  $("fact-title").textContent = heading;
  $("f-save").textContent = verb;
  $("f-conflicts").replaceChildren();
  $("f-fault").hidden = true;
  $("f-more").open = old !== null;
  const dialog = $("fact-dialog");
  dialog.written = null;
  dialog.showModal();
  (old !== null ? $("f-object") : $("f-subject").value ? $("f-object") : $("f-subject")).focus();
  return new Promise((resolve) => dialog.addEventListener("close", () => resolve(dialog.written), { once: true }));
}

// Ask for a new fact. `question` is the text that it shall answer: the prompt follows from it and
// the subject, as long as nobody writes another.
export function newFact({ verb = "Add", subject = "", question = "" } = {}) {
  old = null;
  text = question.trim().split("\n").pop();
  const prompt = subject && text.includes(subject) ? text.replaceAll(subject, "{}") : "";
  return opened("New fact", verb, { subject, prompt });
}

// Ask how a fact shall change. `wording` is a paraphrase that is suggested.
export async function changeFact(id, wording = null) {
  old = await call("GET", factPath(id));
  const written = opened(`Change: ${old.text}`, "Change", old);
  if (wording !== null) {
    $("f-paraphrases").value = [...old.paraphrases, wording].join("\n");
    $("f-paraphrases").focus();
  }
  return written;
}

$("f-subject").addEventListener("input", () => {
  const subject = $("f-subject").value.trim();
  if (!text || $("f-prompt").value !== $("f-prompt").defaultValue) return;
  const prompt = subject && text.includes(subject) ? text.replaceAll(subject, "{}") : "";
  $("f-prompt").defaultValue = $("f-prompt").value = prompt;
});

// Messages of the page are behind the dialog: its own are in it.
function inDialog(work) {
  return doing(async (event) => {
    $("f-fault").hidden = true;
    try { await work(event); } catch (error) {
      $("f-fault").textContent = error.message;
      $("f-fault").hidden = false;
    }
  });
}

$("fact-form").addEventListener("submit", inDialog(async () => {
  const reason = $("f-reason").value.trim();
  let fact = record(), answer;
  if (old === null) answer = await call("POST", "/facts", { facts: [fact], reason });
  else {
    const touched = FIELDS.filter((name) => field(name).value !== field(name).defaultValue);
    const wanted = Object.fromEntries(touched.map((name) => [name, value(name)]));
    answer = await call("PATCH", factPath(old.id), { ...wanted, reason });
    fact = answer.fact;
  }
  $("fact-dialog").written = { ...answer, text: `${fact.prompt.replaceAll("{}", fact.subject)} ${fact.object}` };
  $("fact-dialog").close();
}));

$("f-check").addEventListener("click", inDialog(async () => {
  if (!$("fact-form").reportValidity()) return;
  const wanted = old === null ? record() : { ...record(), id: old.id };
  const found = await call("POST", "/check", { facts: [wanted] });
  const lines = found.conflicts.map((one) => make("p", { class: "bad" }, `Contradicts ${one.other.id}: ${one.other.text} ${one.other.object}`));
  $("f-conflicts").replaceChildren(...(lines.length ? lines : [make("p", { class: "good" }, "No conflict.")]));
}));
$("f-cancel").addEventListener("click", () => { say(""); $("fact-dialog").close(); });
