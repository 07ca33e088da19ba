// A question: how it is read, and the answers with and without the facts as they are written.

import { $, button, call, changed, doing, make, may, nameOf, say, server, stream, table } from "./base.js";
import { keep } from "./cases.js";
import { changeFact, newFact } from "./form.js";

const PAUSE_MS = 350; // in typing, after which a question is read
const LONGEST = 4000; // characters that are read while somebody types

let turn = 0; // of readings: an older one that comes late is not shown
let running = null; // ends the answers that are being written
let seen = null; // the newest reading

const input = () => $("prompt").value;

// Which text, and with which facts.
function wanted() {
  const made = { prompt: input(), chat: $("ask-chat").checked };
  const namespace = $("ask-namespace").value.trim(), generation = $("ask-generation").value;
  if (namespace) made.namespace = namespace;
  if (generation !== "") made.generation = Number(generation);
  return made;
}

// Reading

async function read(textOnly, signal) {
  const mine = ++turn, asked = wanted();
  const why = await call("POST", "/explain", { ...asked, text_only: textOnly }, signal);
  if (mine !== turn) return;
  seen = why;
  show(why, asked, textOnly);
}

function show(why, asked, textOnly) {
  const keeping = (label, fact, about) => button(label, input(), () => {
    keep({ prompt: asked.prompt, chat: asked.chat, namespace: asked.namespace ?? null, fact, about });
    say(`Kept as a test: ${fact ? `it shall say ${about}` : "no fact shall answer"}.`, false);
  });
  const fact = why.candidates.find((one) => one.id === why.fact);
  const nearest = why.candidates.reduce((best, one) => best && best.score >= one.score ? best : one, null);
  const keepers = textOnly ? [] : why.written !== null
    ? [keeping("Right, keep as a test", why.fact, nameOf(fact)), keeping("Should not answer", null, nameOf(fact))]
    : [keeping("Right, keep as a test", null, nearest && nameOf(nearest))];
  const verdict = why.written === null ? [make("strong", {}, why.why_not), why.helps ? ` ${why.helps}` : null]
    : [make("strong", {}, "Written: "), make("mark", {}, why.written)];
  $("read-text").replaceChildren(...passage(why, textOnly));
  $("verdict").replaceChildren(...verdict.filter(Boolean));
  $("read-parts").replaceChildren(...parts(why, textOnly));
  $("keepers").replaceChildren(...keepers);
  $("candidates").replaceChildren(...(why.candidates.length ? [candidates(why, textOnly, keeping)] : []));
  $("reading").hidden = false;
  $("read-text").scrollTop = $("read-text").scrollHeight;
}

// The text that the model reads, its names marked, and the place where it ends.
function passage(why, textOnly) {
  const signs = [...why.text], shown = []; // places are counted in characters, not in UTF-16
  let done = 0;
  for (const one of [...why.mentions].sort((a, b) => a.start - b.start)) {
    if (one.start < done) continue;
    const title = one.within_longer ? "part of a longer name" : `${one.facts} fact(s)`;
    shown.push(signs.slice(done, one.start).join(""),
      make("span", { class: one.within_longer ? "name not" : "name", title }, signs.slice(one.start, one.end).join("")));
    done = one.end;
  }
  shown.push(signs.slice(done).join(""), make("span", { class: "place", title: place(why, textOnly) }, "▸"));
  if (why.written !== null) shown.push(make("mark", {}, why.written));
  return shown;
}

function place(why, textOnly) {
  if (why.due_by_text) return "the text says that an answer is due where it ends";
  if (why.answer_due !== null) return `the model's logits say that ${why.answer_due ? "an" : "no"} answer is due where the text ends`;
  if (textOnly) return "the model is asked whether an answer is due when you ask";
  return "nothing says that an answer is due where the text ends";
}

const HOW = { exact: () => "", folded: (one) => `, written otherwise than “${one.name}”`,
  form: (one) => `, as “${one.name}” with a company's form`, near: (one) => `, a near spelling of “${one.name}”` };

function parts(why, textOnly) {
  const names = why.mentions.map((one) => one.within_longer ? `“${one.text}” is part of a longer name (${one.within_longer})`
    : `“${one.text}”, ${one.facts} fact${one.facts === 1 ? "" : "s"}${(HOW[one.how] || HOW.exact)(one)}`);
  const questions = why.questions.map((one) => `“${one.text}” of “${one.name}” (${one.kind})`);
  const part = (name, lines) => [make("dt", {}, name), ...lines.map((line) => make("dd", {}, line))];
  return [...part("Names", names.length ? names : ["none that a fact is about"]),
    ...part("Question as read", questions.length ? questions : ["none about a name"]), ...part("Answer position", [place(why, textOnly)])];
}

function candidates(why, textOnly, keeping) {
  const several = new Set(why.candidates.map((one) => one.namespace)).size > 1;
  const rows = why.candidates.map((one) => {
    const isAsked = one.id === why.fact && !one.silenced;
    const state = !isAsked ? one.silenced || "another fact is nearer" : why.written !== null ? "written" : "asked for, but no answer is due";
    const orders = isAsked ? [] : [
      textOnly ? null : keeping("Should answer", one.id, nameOf(one)),
      may("propose") && one.question.includes("{}") && one.question !== one.template && !one.via.length
        ? button("Add wording", nameOf(one), () => addWording(one)) : null];
    return [[make("strong", {}, nameOf(one)), several ? make("span", { class: "soft" }, ` ${one.namespace}`) : ""],
      one.question || "–", one.template, score(one), [make("span", { class: isAsked ? "good" : "" }, state)],
      [make("div", { class: "actions" }, ...orders.filter(Boolean))]];
  });
  return table("Candidates", ["Fact", "Question", "Nearest wording", "Score", "Decision", ""], rows);
}

function score(one) {
  const said = `${one.score.toFixed(2)} of ${one.threshold.toFixed(2)} needed`;
  return [make("meter", { min: 0, max: 1, low: one.threshold, high: one.threshold, optimum: 1, value: one.score, "aria-label": said }), said];
}

// Give a fact the question as another wording, then ask again.
async function addWording(one) {
  const written = await changeFact(one.id, one.question);
  if (written) await askAgain(written, "Changed");
}

// Answers

async function ask() {
  if (running) running.abort();
  const mine = running = new AbortController();
  $("answers").hidden = false;
  $("answers").setAttribute("aria-busy", "true");
  $("answers").classList.remove("old");
  $("used").replaceChildren();
  $("stop").hidden = false;
  try {
    const [, answer, base] = await Promise.all([read(false, mine.signal), write("answer", {}, mine.signal), write("base", { facts: false }, mine.signal)]);
    finish(answer, base);
  } catch (error) {
    if (error.name !== "AbortError") throw error;
  } finally {
    mine.abort();
    if (running === mine) {
      running = null;
      $("answers").setAttribute("aria-busy", "false");
      $("stop").hidden = true;
    }
  }
}

// Stream one answer into the page, token by token; `choice` says with which facts.
async function write(id, choice, signal) {
  const { prompt, chat, ...facts } = wanted();
  const shared = { model: server.model, temperature: 0, max_tokens: Number($("ask-tokens").value) || 24,
    stream_options: { include_usage: true }, revisor: { ...facts, ...choice } };
  const begin = chat ? [] : [make("span", { class: "prompt" }, prompt)];
  const pieces = []; // of text, each with the tokens that it came from, counted in the answer
  const made = { id, begin, pieces, used: [], promptTokens: 0, generation: null };
  $(id).replaceChildren(...begin);
  let tokens = 0, first = 0;
  await stream(chat ? "/v1/chat/completions" : "/v1/completions",
    chat ? { ...shared, messages: [{ role: "user", content: prompt }], logprobs: true } : { ...shared, prompt, logprobs: 0 }, signal, (event) => {
      if (event.usage) made.promptTokens = event.usage.prompt_tokens;
      if (event.revisor) { made.used = event.revisor.facts_used; made.generation = event.revisor.generation; }
      const one = event.choices[0];
      if (!one) return;
      tokens += (one.logprobs?.tokens ?? one.logprobs?.content ?? []).length;
      const text = chat ? one.delta?.content : one.text;
      if (!text) return;
      pieces.push({ text, first, end: tokens });
      first = tokens;
      $(id).append(text);
    });
  return made;
}

// Mark what the facts wrote, and say which they were.
function finish(answer, base) {
  const place = (one) => [one.position - answer.promptTokens, one.end - answer.promptTokens];
  const spans = [];
  let marked = null; // the fact whose object goes on
  for (const piece of answer.pieces) {
    const one = answer.used.find((fact) => piece.first < place(fact)[1] && place(fact)[0] < piece.end) ?? null;
    if (one !== null && one === marked) spans.at(-1).append(piece.text);
    else spans.push(one ? make("mark", { title: nameOf(one) }, piece.text) : piece.text);
    marked = one;
  }
  $("answer").replaceChildren(...answer.begin, ...spans);
  const same = [answer, base].map((one) => one.pieces.map((piece) => piece.text).join(""));
  const plain = same[0] === same[1] ? "No fact was used: both answers are the model's own." : "No fact was used.";
  $("used").replaceChildren(answer.used.length
    ? table(`Facts used, generation ${answer.generation}`, ["Fact", "Id", "Question", "Score", "Where"], answer.used.map((one) => [
      nameOf(one), one.id, one.question, `${one.score.toFixed(2)} of ${one.threshold.toFixed(2)} needed`,
      `token ${place(one)[0] + 1} of the answer`]))
    : make("p", { class: "soft" }, plain));
}

// A fact, and the question again

async function askAgain(written, verb) {
  await ask();
  await changed(written, `${verb}: ${written.text}`);
}

async function addAndAsk() {
  const question = input();
  const name = seen && seen.text.includes(question) ? seen.mentions.filter((one) => !one.within_longer).pop() : null;
  const subject = name && question.includes(name.text) ? name.text : "";
  const written = await newFact({ verb: question.trim() ? "Add and ask" : "Add", subject, question });
  if (!written) return;
  if (question.trim()) await askAgain(written, "Added");
  else await changed(written, `Added: ${written.text}`);
}

// What the page listens to

let pause = 0, reader = null;

function typed() {
  clearTimeout(pause);
  if (reader) reader.abort();
  $("answers").classList.add("old");
  turn += 1; // a reading that is under way is of an older text
  if (!input().trim() || input().length > LONGEST) { $("reading").hidden = true; seen = null; return; }
  pause = setTimeout(() => {
    reader = new AbortController();
    read(true, reader.signal).catch(() => {}); // asking says what is wrong
  }, PAUSE_MS);
}

for (const id of ["prompt", "ask-chat", "ask-namespace", "ask-generation"]) $(id).addEventListener("input", typed);
$("ask-form").addEventListener("submit", doing(async () => { clearTimeout(pause); if (reader) reader.abort(); await ask(); }));
$("ask-add").addEventListener("click", doing(addAndAsk));
$("stop").addEventListener("click", () => { if (running) running.abort(); });
$("prompt").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); $("ask-form").requestSubmit(); }
  if (event.key === "Escape" && running) running.abort();
});
