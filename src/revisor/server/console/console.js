// The console: reads and changes a running server through its own HTTP routes, nothing else.
// Everything from the server is put into the page as text, never as markup.
"use strict";

const $ = (id) => document.getElementById(id);
const PAGE = 25;
let offset = 0;
let role = "admin";
let newest = 0;
const ROLES = ["read", "propose", "approve", "admin"];
const may = (needed) => ROLES.indexOf(role) >= ROLES.indexOf(needed);

// An element with its text or children; attributes by name, listeners as functions.
function make(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(name, value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value != null) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child != null));
  return made;
}

async function call(method, path, body) {
  const headers = {};
  const key = sessionStorage.getItem("revisor-key");
  if (key) headers.authorization = `Bearer ${key}`;
  if (body !== undefined) headers["content-type"] = "application/json";
  const answer = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
  const told = await answer.json().catch(() => ({}));
  if (!answer.ok) {
    if (answer.status === 401) { $("key-form").hidden = false; $("key").focus(); }
    const error = told.error || { message: `${answer.status}` };
    const faults = (error.faults || []).map((f) => `\n${f.line ? `line ${f.line}: ` : ""}${f.fault}`).join("");
    throw new Error(error.message + faults + (error.hint && answer.status !== 401 ? `\n${error.hint}` : ""));
  }
  return told;
}

// What went wrong, or what came of an order.
function say(text, fault = true) {
  $("message").textContent = text;
  $("message").className = fault ? "bad" : "good";
  $("message").hidden = !text;
}

// Run something for a button or form: what goes wrong is told, and nothing is done twice.
function doing(work) {
  return async (event) => {
    if (event && event.preventDefault) event.preventDefault();
    const button = event && (event.submitter || event.currentTarget);
    if (button && button.tagName === "BUTTON") button.disabled = true;
    say("");
    try { await work(event); } catch (error) { say(error.message); }
    finally { if (button && button.tagName === "BUTTON") button.disabled = false; }
  };
}

// A question with a value and a reason; null if it was cancelled.
function question(verb, text, label, value) {
  const dialog = $("dialog");
  dialog.querySelector("h2").textContent = dialog.querySelector(".main").textContent = verb;
  dialog.querySelector("p").textContent = text;
  const input = $("d-value");
  input.hidden = label === null;
  input.required = label !== null;
  dialog.querySelector("label[for=d-value]").textContent = label || "";
  input.value = value || "";
  $("d-reason").value = "";
  dialog.returnValue = "no";
  dialog.showModal();
  (label === null ? $("d-reason") : input).focus();
  return new Promise((resolve) => dialog.addEventListener("close", () => {
    resolve(dialog.returnValue === "ok" ? { value: input.value.trim(), reason: $("d-reason").value.trim() } : null);
  }, { once: true }));
}

// Sections as tabs: arrows move between them, and the address remembers which one is open.
const tabs = [...document.querySelectorAll("[role=tab]")];
const loaders = { facts: listFacts, proposals: listProposals, generations: listGenerations, figures: showFigures };

function open(tab, focus = false) {
  for (const other of tabs) {
    const chosen = other === tab;
    other.setAttribute("aria-selected", chosen);
    other.tabIndex = chosen ? 0 : -1;
    $(other.getAttribute("aria-controls")).hidden = !chosen;
  }
  const name = tab.getAttribute("aria-controls");
  history.replaceState(null, "", `#${name}`);
  if (focus) tab.focus();
  if (loaders[name]) doing(loaders[name])();
}

tabs.forEach((tab, index) => {
  tab.addEventListener("click", () => open(tab));
  tab.addEventListener("keydown", (event) => {
    const moves = { ArrowRight: index + 1, ArrowLeft: index - 1, Home: 0, End: tabs.length - 1 };
    if (event.key in moves) { event.preventDefault(); open(tabs[(moves[event.key] + tabs.length) % tabs.length], true); }
  });
});

const current = () => tabs.find((tab) => tab.getAttribute("aria-selected") === "true").getAttribute("aria-controls");

// Ask

$("ask-form").addEventListener("submit", doing(async () => {
  const wanted = { prompt: $("prompt").value, chat: $("ask-chat").checked };
  const [told, why] = await Promise.all([
    call("POST", "/ask", { ...wanted, max_tokens: Number($("ask-tokens").value) || 24 }), call("POST", "/explain", wanted)]);
  const used = (index) => told.facts_used.find((one) => one.position <= index && index < one.end);
  const spans = told.tokens.map((token, index) => {
    const one = used(index);
    if (one) return make("mark", { title: `${one.subject}: ${one.object}` }, token);
    return index < told.prompt_tokens ? make("span", { class: "prompt" }, token) : token;
  });
  $("answer").replaceChildren(...spans);
  const prompt = told.tokens.slice(0, told.prompt_tokens).join("");
  $("base").replaceChildren(make("span", { class: "prompt" }, prompt), told.base_answer);
  $("used").replaceChildren(
    told.facts_used.length ? table(`Facts used, generation ${told.generation}`, ["Fact", "Id", "Asked", "Score", "Threshold"],
      told.facts_used.map((one) => [`${one.subject}: ${one.object}`, one.id, one.question, one.score, one.threshold]))
      : make("p", { class: "soft" }, "No fact was used: both answers are the model's own."),
    decision(why));
  $("answers").hidden = false;
}));

// What is decided at the end of the prompt: names, candidates, whether an answer is due.
function decision(why) {
  const names = why.mentions.map((one) => `“${one.text}” (${one.facts})`).join(", ") || "none that a fact is about";
  const due = why.answer_due === null ? "told by the text" : why.answer_due ? "yes" : "no";
  return make("details", { open: true }, make("summary", {}, "Why, at the end of the prompt"),
    make("p", {}, `Names: ${names}. Answer due: ${due}. Written: ${why.written ?? "nothing"}.`),
    why.candidates.length ? table("Candidates", ["Fact", "Asked", "Nearest wording", "Score", "Threshold", "Silenced by"],
      why.candidates.map((one) => [`${one.subject}: ${one.object}`, one.question, one.template, one.score, one.threshold, one.silenced || ""])) : null);
}

function table(caption, heads, rows) {
  const cell = (value) => typeof value === "number" ? make("td", { class: "num" }, value.toFixed(3)) : make("td", {}, value);
  return make("div", { class: "scroll" }, make("table", {}, make("caption", {}, caption),
    make("thead", {}, make("tr", {}, ...heads.map((head, index) => make("th", { scope: "col", class: rows.length && typeof rows[0][index] === "number" ? "num" : null }, head)))),
    make("tbody", {}, ...rows.map((row) => make("tr", {}, ...row.map(cell))))));
}

$("prompt").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); $("ask-form").requestSubmit(); }
});

// Facts

async function listFacts() {
  const query = new URLSearchParams({ limit: PAGE, offset });
  if ($("search").value) query.set("search", $("search").value);
  if ($("namespace").value.trim()) query.set("namespace", $("namespace").value.trim());
  const told = await call("GET", `/facts?${query}`);
  const rows = told.facts.map(factRow);
  const none = make("tr", {}, make("td", { colspan: 5, class: "soft" }, "No facts here."));
  $("fact-table").tBodies[0].replaceChildren(...(rows.length ? rows : [none]));
  $("prev").disabled = offset === 0;
  $("next").disabled = told.next_offset === null;
  const waits = told.generation !== told.live_generation;
  $("stale").textContent = waits ? `Generation ${told.live_generation} was published and stays live; what was changed since waits.` : "";
  $("waiting").hidden = !waits;
  $("publish").hidden = !may("approve");
  newest = told.generation;
  $("new-fact").hidden = !may("propose");
}

function factRow(fact) {
  const [before, ...after] = fact.prompt.split("{}");
  const text = make("td", {}, before, make("strong", {}, fact.subject), after.join(fact.subject));
  const button = (label, needed, work) => may(needed) ? make("button", { click: doing(work), "aria-label": `${label}: ${fact.text}` }, label) : null;
  return make("tr", {}, text, make("td", {}, fact.object), make("td", { class: "soft" }, fact.namespace),
    make("td", { class: "id" }, fact.id), make("td", { class: "actions" },
      button("Change", "propose", () => changeFact(fact)), button("Remove", "propose", () => removeFact(fact)),
      button("History", "read", () => showHistory(fact))));
}

async function changeFact(fact) {
  const answer = await question("Change", fact.text, "Object", fact.object);
  if (!answer) return;
  written(await call("PATCH", `/facts/${encodeURIComponent(fact.id)}`, { object: answer.value, reason: answer.reason }), `Changed: ${fact.text} ${answer.value}`);
  await listFacts();
}

async function removeFact(fact) {
  const answer = await question("Remove", `${fact.text} ${fact.object}`, null);
  if (!answer) return;
  written(await call("DELETE", `/facts/${encodeURIComponent(fact.id)}?reason=${encodeURIComponent(answer.reason)}`), `Removed: ${fact.text} ${fact.object}`);
  await listFacts();
}

function written(told, what) {
  if (told.proposals.length) say(`Proposed (${told.proposals.join(", ")}): somebody else has to approve it.`, false);
  else say(`${what}.`, false);
}

async function showHistory(fact) {
  const told = await call("GET", `/facts/${encodeURIComponent(fact.id)}/history`);
  const items = told.history.map((one) => make("li", {},
    `${one.kind} in generation ${one.generation}: `, make(one.kind === "remove" ? "del" : "strong", {}, one.fact.object),
    make("div", { class: "soft" }, who(one.actor, one.at, one.reason))));
  $("history").replaceChildren(make("h2", {}, fact.text), make("ol", {}, ...items));
  $("history").hidden = false;
  $("history").focus();
}

const when = (text) => new Date(text).toLocaleString();
const who = (actor, at, reason) => [actor, when(at), reason].filter(Boolean).join(" · ");
const newFact = () => {
  const fact = { subject: $("f-subject").value.trim(), prompt: $("f-prompt").value.trim(), object: $("f-object").value.trim() };
  for (const name of ["namespace", "source"]) if ($(`f-${name}`).value.trim()) fact[name] = $(`f-${name}`).value.trim();
  return fact;
};

$("search-form").addEventListener("submit", doing(async () => { offset = 0; await listFacts(); }));
$("prev").addEventListener("click", doing(async () => { offset = Math.max(0, offset - PAGE); await listFacts(); }));
$("next").addEventListener("click", doing(async () => { offset += PAGE; await listFacts(); }));
$("new-fact").addEventListener("click", () => { $("fact-form").hidden = false; $("f-subject").focus(); });
$("f-cancel").addEventListener("click", () => { $("fact-form").hidden = true; $("new-fact").focus(); });
$("f-check").addEventListener("click", doing(async () => {
  if (!$("fact-form").reportValidity()) return;
  const told = await call("POST", "/check", { facts: [newFact()] });
  const lines = told.conflicts.map((c) => make("p", { class: "bad" }, `Contradicts ${c.other.id}: ${c.other.text} ${c.other.object}`));
  $("f-conflicts").replaceChildren(...(lines.length ? lines : [make("p", { class: "good" }, "No conflict.")]));
}));
$("fact-form").addEventListener("submit", doing(async () => {
  const fact = newFact();
  const told = await call("POST", "/facts", { facts: [fact], reason: $("f-reason").value.trim() });
  written(told, `Added: ${fact.prompt.replaceAll("{}", fact.subject)} ${fact.object}`);
  $("fact-form").reset();
  $("f-conflicts").replaceChildren();
  $("fact-form").hidden = true;
  await listFacts();
}));
$("publish").addEventListener("click", doing(async () => { await call("POST", `/generations/${newest}/publish`); await listFacts(); look(); }));

// Proposals

async function listProposals() {
  const told = await call("GET", "/proposals");
  const rows = told.proposals.map((one) => {
    const about = one.fact || one.before;
    const decide = (label, act) => make("button", { click: doing(async () => {
      await call("POST", `/proposals/${one.id}/${act}`); await listProposals(); }), "aria-label": `${label} proposal ${one.id}` }, label);
    const what = one.kind === "remove" ? "Remove" : one.before ? "Change" : "Add";
    return make("tr", {}, make("td", {}, make("strong", {}, `${what}: ${about.prompt.replaceAll("{}", about.subject)}`), changes(one)),
      make("td", { class: "soft" }, who(one.proposed_by, one.proposed_at, one.reason)),
      make("td", { class: "actions" }, may("approve") ? decide("Approve", "approve") : null, decide("Reject", "reject")));
  });
  const none = make("tr", {}, make("td", { colspan: 3, class: "soft" }, "Nothing waits for approval."));
  $("proposal-table").tBodies[0].replaceChildren(...(rows.length ? rows : [none]));
}

// Every field that a proposal changes, so that nothing is approved unseen.
function changes(one) {
  const before = one.before || {}, after = one.fact || {};
  const shown = (value) => value == null ? "" : Array.isArray(value) ? value.join(", ") : String(value);
  const names = Object.keys({ ...before, ...after }).filter((name) => name !== "id" && shown(before[name]) !== shown(after[name]));
  return make("ul", {}, ...names.map((name) => make("li", {}, `${name.replaceAll("_", " ")}: `,
    shown(before[name]) ? make("del", {}, shown(before[name])) : null, shown(before[name]) && shown(after[name]) ? " → " : null,
    shown(after[name]) ? make("ins", {}, shown(after[name])) : null)));
}

// Generations

async function listGenerations() {
  const told = await call("GET", "/generations?limit=50");
  const rows = told.generations.map((one) => {
    const live = told.live === one.number;
    const state = live ? make("strong", { class: "good" }, told.pinned ? "live, published" : "live")
      : told.canary === one.number ? "tried" : one.number > told.live ? "waits" : "";
    const button = (label, work) => make("button", { click: doing(work), "aria-label": `${label} generation ${one.number}` }, label);
    return make("tr", {}, make("td", { class: "num", "data-label": "Generation" }, String(one.number)),
      make("td", {}, one.added === null ? "" : `+${one.added} ~${one.updated} −${one.removed}`),
      make("td", { class: "num", "data-label": "Facts" }, one.live === null ? "" : String(one.live)),
      make("td", { class: "soft" }, who(one.actor, one.at, one.reason)),
      make("td", {}, state), make("td", { class: "actions" }, button("Diff", () => showDiff(one)),
        !live && may("approve") ? button("Publish", async () => { await call("POST", `/generations/${one.number}/publish`); await listGenerations(); }) : null,
        may("admin") && one !== told.generations[0] ? button("Roll back to", () => rollBack(one)) : null));
  });
  const none = make("tr", {}, make("td", { colspan: 6, class: "soft" }, "No facts yet."));
  $("generation-table").tBodies[0].replaceChildren(...(rows.length ? rows : [none]));
  look(); // the page's head says which generation is live, too
}

async function rollBack(one) {
  const answer = await question("Roll back", `The facts of generation ${one.number} hold again, as a new generation. Nothing is forgotten.`, null);
  if (!answer) return;
  await call("POST", "/generations/rollback", { to: one.number, reason: answer.reason });
  await listGenerations();
}

async function showDiff(one) {
  const told = await call("GET", `/generations/${one.parent}/diff/${one.number}`);
  const line = (mark, fact, ...rest) => make("li", {}, `${mark} ${fact.text} `, ...rest);
  const items = [
    ...told.added.map((fact) => line("+", fact, make("ins", {}, fact.object))),
    ...told.updated.map((both) => line("~", both.after, make("del", {}, both.before.object), " → ", make("ins", {}, both.after.object))),
    ...told.removed.map((fact) => line("−", fact, make("del", {}, fact.object))),
  ];
  $("diff").replaceChildren(make("h2", {}, `Generation ${one.parent} → ${one.number}`), make("ul", {}, ...(items.length ? items : [make("li", { class: "soft" }, "No difference that you may see.")])));
  $("diff").hidden = false;
  $("diff").focus();
}

// Figures

async function showFigures() {
  const told = await call("GET", "/figures");
  const numbers = [["Facts", told.facts], ["Live generation", told.live], ["Newest generation", told.newest], ["Answering", told.running],
    ["Waiting", told.queue], ["Different facts used", told.facts_used ?? "–"], ["Health", told.healthy ? "ok" : "failing"]];
  $("numbers").replaceChildren(...numbers.map(([name, value]) => make("div", {}, make("dt", {}, name),
    make("dd", { class: value === "failing" ? "bad" : null }, String(value)))));
  const sides = Object.entries(told.generations);
  const names = sides.length ? Object.keys(sides[0][1]) : [];
  $("side-table").tHead.replaceChildren(make("tr", {}, make("th", { scope: "col" }, "Figure"), ...sides.map(([n]) => make("th", { scope: "col", class: "num" }, `Generation ${n}`))));
  $("side-table").tBodies[0].replaceChildren(...names.map((name) => make("tr", {}, make("th", { scope: "row" }, name.replaceAll("_", " ")),
    ...sides.map(([, figures]) => make("td", { class: "num" }, String(figures[name]))))));
}

// The whole page

async function look() {
  try {
    const told = await call("GET", "/figures");
    role = told.role;
    $("state").textContent = told.healthy ? `${told.model} · generation ${told.live} · ${told.facts} facts · role: ${told.role}` : `Failing: ${told.faults.join("; ")}`;
    $("state").className = told.healthy ? "" : "bad";
    return true;
  } catch (error) {
    $("state").textContent = error.message;
    $("state").className = "bad";
    return false;
  }
}

$("key-form").addEventListener("submit", doing(async () => {
  sessionStorage.setItem("revisor-key", $("key").value.trim());
  $("key").value = "";
  if (await look()) { $("key-form").hidden = true; open(tabs.find((tab) => tab.getAttribute("aria-controls") === current())); }
}));
document.addEventListener("keydown", (event) => {
  const typing = /^(INPUT|TEXTAREA)$/.test(document.activeElement.tagName);
  if (event.key === "/" && !typing && !$("dialog").open) { event.preventDefault(); open($("tab-facts")); $("search").focus(); }
});
setInterval(() => { if (!document.hidden) { look(); if (current() === "figures") showFigures().catch(() => {}); } }, 5000);
look().then(() => {
  const wanted = tabs.find((tab) => `#${tab.getAttribute("aria-controls")}` === location.hash) || tabs[0];
  open(wanted);
});
