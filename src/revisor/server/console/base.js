// What every section needs: elements, requests to the server, messages, dialogs.
// Everything from the server is put into the page as text, never as markup.

export const $ = (id) => document.getElementById(id);

// What the server last said of itself.
export const server = { role: "read", model: "" };

const ROLES = ["read", "propose", "approve", "admin"];
export const may = (needed) => ROLES.indexOf(server.role) >= ROLES.indexOf(needed);

// An element with its text or children; attributes by name, listeners as functions.
export function make(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(name, value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value != null) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child != null));
  return made;
}

// A button of a row. Its label alone does not say which row it belongs to; `about` does.
export function button(label, about, work) {
  return make("button", { type: "button", click: doing(work), "aria-label": `${label}: ${about}` }, label);
}

export function table(caption, heads, rows) {
  return make("div", { class: "scroll" }, make("table", { class: "list" }, make("caption", {}, caption),
    make("thead", {}, make("tr", {}, ...heads.map((head) => make("th", { scope: "col" }, head || make("span", { class: "hidden" }, "Actions"))))),
    make("tbody", {}, ...rows.map((row) => make("tr", {}, ...row.map((value, index) =>
      make("td", { "data-label": heads[index] || null }, ...[value].flat())))))));
}

// The rows of a table, or one that says that there are none.
export function fill(id, rows, none) {
  const columns = $(id).tHead.rows[0].cells.length;
  const empty = make("tr", {}, make("td", { colspan: columns, class: "soft" }, none));
  $(id).tBodies[0].replaceChildren(...(rows.length ? rows : [empty]));
}

async function send(method, path, body, signal) {
  const headers = {};
  const key = sessionStorage.getItem("revisor-key");
  if (key) headers.authorization = `Bearer ${key}`;
  if (body !== undefined) headers["content-type"] = "application/json";
  const answer = await fetch(path, { method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body) });
  if (answer.ok) return answer;
  if (answer.status === 401) { $("key-form").hidden = false; $("key").focus(); }
  const read = await answer.json().catch(() => ({}));
  const error = read.error || { message: `The server answered ${answer.status}.` };
  const faults = (error.faults || []).map((f) => `\n${f.line ? `line ${f.line}: ` : ""}${f.fault}`).join("");
  throw new Error(error.message + faults + (error.hint && answer.status !== 401 ? `\n${error.hint}` : ""));
}

export async function call(method, path, body, signal) {
  return (await send(method, path, body, signal)).json();
}

// Hand each event of a stream to `take` as it comes.
export async function stream(path, body, signal, take) {
  const answer = await send("POST", path, { ...body, stream: true }, signal);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) throw new Error("The answer was broken off. Ask again.");
    const events = (rest + value).split("\n\n");
    rest = events.pop();
    for (const event of events) {
      const data = event.replace(/^data: /, "");
      if (data === "[DONE]") return;
      const read = JSON.parse(data);
      if (read.error) throw new Error(read.error.message);
      take(read);
    }
  }
}

// What went wrong, or what came of an order.
export function say(text, fault = true) {
  $("message").textContent = text;
  $("message").className = fault ? "bad" : "good";
  $("message").hidden = !text;
}

// Run something for a button or form: what goes wrong is shown, and a button that is at work is not
// pressed again. It keeps the focus meanwhile.
export function doing(work) {
  return async (event) => {
    if (event && event.preventDefault) event.preventDefault();
    const pressed = event && (event.submitter || event.currentTarget);
    if (pressed?.getAttribute("aria-busy") === "true") return;
    if (pressed) pressed.setAttribute("aria-busy", "true");
    say("");
    try { await work(event); } catch (error) { say(error.message); }
    finally { if (pressed) pressed.removeAttribute("aria-busy"); }
  };
}

// Ask whether to do something; the reason that was given, or null if it was cancelled.
export function confirmed(verb, text) {
  const dialog = $("dialog");
  dialog.querySelector("h2").textContent = dialog.querySelector(".main").textContent = verb;
  dialog.querySelector("p").textContent = text;
  $("d-reason").value = "";
  dialog.returnValue = "no";
  dialog.showModal();
  $("d-reason").focus();
  return new Promise((resolve) => dialog.addEventListener("close", () => {
    resolve(dialog.returnValue === "ok" ? $("d-reason").value.trim() : null);
  }, { once: true }));
}

// The page's head says which generation is live.
export const notify = () => document.dispatchEvent(new Event("live-changed"));

// Say what became of a change: it is live, it waits for a publication, or it is a proposal.
export async function changed(result, what) {
  if (result.proposals.length) return say(`Proposed (${result.proposals.join(", ")}): somebody else has to approve it.`, false);
  notify();
  const { live } = await call("GET", "/generations?limit=1");
  const waits = result.generation > live ? ` It waits: generation ${live} was published, and stays live until a newer one is published.` : "";
  return say(`${what}.${waits}`, false);
}

const when = (text) => new Date(text).toLocaleString();
export const who = (actor, at, reason) => [actor, when(at), reason].filter(Boolean).join(" · ");
export const factPath = (id) => `/facts/${encodeURIComponent(id)}`;
export const nameOf = (fact) => `${fact.subject}: ${fact.object}`;
