// The console: reads and changes a running server through its own HTTP routes, nothing else.

import { $, call, doing, make, may, server } from "./base.js";
import "./ask.js";
import { showCases } from "./cases.js";
import { listFacts, listGenerations, listProposals } from "./facts.js";

const REFRESH_MS = 5000;

// Sections as tabs: arrows move between them, and the address remembers which one is open.

const tabs = [...document.querySelectorAll("[role=tab]")];
const sectionOf = (tab) => tab.getAttribute("aria-controls");
const loaders = { facts: listFacts, proposals: listProposals, generations: listGenerations, tests: showCases, figures: showFigures };

function open(tab, focus = false) {
  for (const other of tabs) {
    const chosen = other === tab;
    other.setAttribute("aria-selected", chosen);
    other.tabIndex = chosen ? 0 : -1;
    $(sectionOf(other)).hidden = !chosen;
  }
  history.replaceState(null, "", `#${sectionOf(tab)}`);
  if (focus) tab.focus();
  const load = loaders[sectionOf(tab)];
  if (load) doing(load)();
}

tabs.forEach((tab, index) => {
  tab.addEventListener("click", () => open(tab));
  tab.addEventListener("keydown", (event) => {
    const moves = { ArrowRight: index + 1, ArrowLeft: index - 1, Home: 0, End: tabs.length - 1 };
    if (event.key in moves) { event.preventDefault(); open(tabs[(moves[event.key] + tabs.length) % tabs.length], true); }
  });
});

const current = () => tabs.find((tab) => tab.getAttribute("aria-selected") === "true");

// Figures

async function showFigures() {
  const figures = await call("GET", "/figures");
  const numbers = [["Facts", figures.facts], ["Live generation", figures.live], ["Newest generation", figures.newest], ["Answering", figures.running ?? "–"],
    ["Waiting", figures.queue ?? "–"], ["Different facts used", figures.facts_used ?? "–"], ["Health", figures.healthy ? "ok" : "failing"]];
  $("numbers").replaceChildren(...numbers.map(([name, value]) => make("div", {}, make("dt", {}, name),
    make("dd", { class: value === "failing" ? "bad" : null }, String(value)))));
  const sides = Object.entries(figures.generations);
  const names = sides.length ? Object.keys(sides[0][1]) : [];
  $("side-table").tHead.replaceChildren(make("tr", {}, make("th", { scope: "col" }, "Figure"), ...sides.map(([n]) => make("th", { scope: "col", class: "num" }, `Generation ${n}`))));
  $("side-table").tBodies[0].replaceChildren(...names.map((name) => make("tr", {}, make("th", { scope: "row" }, name.replaceAll("_", " ")),
    ...sides.map(([, side]) => make("td", { class: "num" }, String(side[name]))))));
}

// The whole page

async function look() {
  try {
    const figures = await call("GET", "/figures");
    Object.assign(server, { role: figures.role, model: figures.model });
    $("state").textContent = figures.healthy ? `${figures.model} · generation ${figures.live} · ${figures.facts} facts · role: ${figures.role}` : `Failing: ${figures.faults.join("; ")}`;
    $("state").className = figures.healthy ? "" : "bad";
    $("ask-add").hidden = !may("propose");
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
  if (await look()) { $("key-form").hidden = true; open(current()); }
}));
document.addEventListener("live-changed", look);
document.addEventListener("keydown", (event) => {
  const typing = /^(INPUT|TEXTAREA)$/.test(document.activeElement.tagName);
  if (event.key === "/" && !typing && !document.querySelector("dialog[open]")) { event.preventDefault(); open($("tab-facts")); $("search").focus(); }
});
setInterval(() => { if (!document.hidden) { look(); if (sectionOf(current()) === "figures") showFigures().catch(() => {}); } }, REFRESH_MS);
showCases();
look().then(() => open(tabs.find((tab) => `#${sectionOf(tab)}` === location.hash) || tabs[0]));
