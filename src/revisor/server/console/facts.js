// The ledger: facts, proposals, generations.

import { $, button, call, changed, confirmed, doing, factPath, fill, make, may, notify, who } from "./base.js";
import { changes } from "./changes.js";
import { changeFact, newFact } from "./form.js";

const PAGE = 25;
const starts = { facts: 0, proposals: 0, generations: 0 }; // where the page that is shown begins

// One page of a list, and the buttons that lead to its neighbours.
async function page(name, path, query = {}) {
  const found = await call("GET", `${path}?${new URLSearchParams({ ...query, limit: PAGE, offset: starts[name] })}`);
  $(`${name}-prev`).disabled = starts[name] === 0;
  $(`${name}-next`).disabled = found.next_offset === null;
  $(`${name}-pages`).hidden = starts[name] === 0 && found.next_offset === null;
  return found;
}

function turns(name, list) {
  const by = (step) => doing(async () => { starts[name] = Math.max(0, starts[name] + step); await list(); });
  $(`${name}-prev`).addEventListener("click", by(-PAGE));
  $(`${name}-next`).addEventListener("click", by(PAGE));
}

// A list in a card, which grows by a page where somebody wants more of it.
async function showList(id, title, path, items, none) {
  const list = make("ol", {}), more = make("button", { type: "button" }, "Show more");
  let offset = 0;
  const grow = async () => {
    const found = await call("GET", `${path}?${new URLSearchParams({ limit: PAGE, offset })}`);
    list.append(...items(found));
    if (!list.children.length) list.append(make("li", { class: "soft" }, none));
    offset = found.next_offset;
    more.hidden = offset === null;
  };
  more.addEventListener("click", doing(grow));
  await grow();
  $(id).replaceChildren(make("h2", {}, title), list, more);
  $(id).hidden = false;
  $(id).focus();
}

// Facts

export async function listFacts() {
  const query = {};
  if ($("search").value) query.search = $("search").value;
  if ($("namespace").value.trim()) query.namespace = $("namespace").value.trim();
  const found = await page("facts", "/facts", query);
  fill("fact-table", found.facts.map(factRow), "No facts here.");
  const waits = found.generation !== found.live_generation;
  $("stale").textContent = waits ? `Generation ${found.live_generation} was published and stays live; what was changed since waits.` : "";
  $("waiting").hidden = !waits;
  $("publish").hidden = !may("approve");
  newest = found.generation;
  $("new-fact").hidden = !may("propose");
}

let newest = 0;

function factRow(fact) {
  const [before, ...after] = fact.prompt.split("{}");
  const text = make("td", {}, before, make("strong", {}, fact.subject), after.join(fact.subject));
  const order = (label, needed, work) => may(needed) ? button(label, fact.text, work) : null;
  const ends = [fact.valid_from ? `from ${fact.valid_from}` : null, fact.valid_to ? `to ${fact.valid_to}` : null].filter(Boolean).join(" ");
  return make("tr", {}, text, make("td", {}, fact.object, ends ? make("div", { class: "soft" }, ends) : null),
    make("td", { class: "soft" }, fact.namespace), make("td", { class: "id" }, fact.id), make("td", { class: "actions" },
      fact.reverse_of ? null : order("Change", "propose", () => change(fact)),
      fact.reverse_of ? null : order("Remove", "propose", () => remove(fact)), order("History", "read", () => showHistory(fact))));
}

async function change(fact) {
  const written = await changeFact(fact.id);
  if (!written) return;
  await changed(written, `Changed: ${written.text}`);
  await listFacts();
}

async function remove(fact) {
  const reason = await confirmed("Remove", `${fact.text} ${fact.object}`);
  if (reason === null) return;
  await changed(await call("DELETE", `${factPath(fact.id)}?reason=${encodeURIComponent(reason)}`), `Removed: ${fact.text} ${fact.object}`);
  await listFacts();
}

async function showHistory(fact) {
  let before = null;
  const items = (found) => found.history.map((one) => {
    const item = make("li", {}, `${one.kind} in generation ${one.generation}`,
      one.kind === "remove" ? changes(one.fact, null) : changes(before, one.fact),
      make("div", { class: "soft" }, who(one.actor, one.at, one.reason)));
    before = one.fact;
    return item;
  });
  await showList("history", fact.text, `${factPath(fact.id)}/history`, items, "No history that you may see.");
}

turns("facts", listFacts);
$("search-form").addEventListener("submit", doing(async () => { starts.facts = 0; await listFacts(); }));
$("new-fact").addEventListener("click", doing(async () => {
  const written = await newFact();
  if (!written) return;
  await changed(written, `Added: ${written.text}`);
  await listFacts();
}));
$("publish").addEventListener("click", doing(async () => { await call("POST", `/generations/${newest}/publish`); await listFacts(); notify(); }));

// Proposals

export async function listProposals() {
  const found = await page("proposals", "/proposals");
  fill("proposal-table", found.proposals.map((one) => {
    const about = one.fact || one.before;
    const decide = (label, act) => button(label, `proposal ${one.id}`, async () => {
      const result = await call("POST", `/proposals/${one.id}/${act}`);
      if (act === "approve") await changed(result, `Approved: proposal ${one.id}`);
      await listProposals();
    });
    const what = one.kind === "remove" ? "Remove" : one.before ? "Change" : "Add";
    return make("tr", {}, make("td", {}, make("strong", {}, `${what}: ${about.prompt.replaceAll("{}", about.subject)}`), changes(one.before, one.fact)),
      make("td", { class: "soft" }, `proposal ${one.id} · `, who(one.proposed_by, one.proposed_at, one.reason), make("div", { class: "id" }, one.fact_id)),
      make("td", { class: "actions" }, may("approve") ? decide("Approve", "approve") : null, decide("Reject", "reject")));
  }), "Nothing waits for approval.");
}

turns("proposals", listProposals);

// Generations

export async function listGenerations() {
  const found = await page("generations", "/generations");
  fill("generation-table", found.generations.map((one) => {
    const isLive = found.live === one.number;
    const state = isLive ? make("strong", { class: "good" }, found.pinned ? "live, published" : "live")
      : found.canary === one.number ? "tried" : one.number > found.live ? "waits" : "";
    const order = (label, work) => button(label, `generation ${one.number}`, work);
    return make("tr", {}, make("td", { class: "num", "data-label": "Generation" }, String(one.number)),
      make("td", {}, one.added === null ? "" : `+${one.added} ~${one.updated} −${one.removed}`),
      make("td", { class: "num", "data-label": "Facts" }, one.live === null ? "" : String(one.live)),
      make("td", { class: "soft" }, who(one.actor, one.at, one.reason)),
      make("td", {}, state), make("td", { class: "actions" }, order("Diff", () => showDiff(one)),
        !isLive && may("approve") ? order("Publish", () => publish(one)) : null,
        may("admin") && one.number !== found.newest ? order("Roll back to", () => rollBack(one)) : null));
  }), "No facts yet.");
  notify();
}

async function publish(one) {
  await call("POST", `/generations/${one.number}/publish`);
  await listGenerations();
}

async function rollBack(one) {
  const reason = await confirmed("Roll back", `The facts of generation ${one.number} hold again, as a new generation. Nothing is forgotten.`);
  if (reason === null) return;
  await call("POST", "/generations/rollback", { to: one.number, reason });
  await listGenerations();
}

async function showDiff(one) {
  const line = (mark, before, after) => make("li", {}, `${mark} ${(after || before).text} `, changes(before, after));
  const items = (found) => [...found.added.map((fact) => line("+", null, fact)), ...found.updated.map((both) => line("~", both.before, both.after)),
    ...found.removed.map((fact) => line("−", fact, null))];
  await showList("diff", `Generation ${one.parent} → ${one.number}`, `/generations/${one.parent}/diff/${one.number}`, items,
    "No difference that you may see.");
}

turns("generations", listGenerations);
