// How a fact differs from another: every field, so that nothing is approved unseen.

import { make } from "./base.js";

// Not shown: the id, which the row has, and the text, which follows from prompt and subject.
const DERIVED = ["id", "text"];
const FIRST = ["subject", "prompt", "object", "paraphrases", "aliases", "valid_from", "valid_to", "source", "reverse", "namespace"];
// Signs that look like nothing, or turn the text around them: shown by their number.
const UNSEEN = /([\p{Cc}\p{Cf}\p{Zl}\p{Zp}]|(?! )\p{Zs}|^ | $)/u;

const isEmpty = (value) => value == null || value === "" || (Array.isArray(value) && !value.length);
const isSame = (one, other) => isEmpty(one) ? isEmpty(other) : JSON.stringify(one) === JSON.stringify(other);

function visible(text) {
  return String(text).split(UNSEEN).filter(Boolean).map((part) => UNSEEN.test(part) && [...part].length === 1
    ? make("span", { class: "unseen" }, `U+${part.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`) : part);
}

// A list item by item, those that stay among those that come and go; another value as old → new.
function difference(before, after) {
  if (Array.isArray(before ?? after)) {
    const old = before || [], now = after || [];
    const item = (tag, value) => make("li", {}, make(tag, {}, ...visible(value)));
    const kept = now.map((value) => item(old.includes(value) ? "span" : "ins", value));
    return [make("ul", { class: "items" }, ...old.filter((value) => !now.includes(value)).map((value) => item("del", value)), ...kept)];
  }
  return [isEmpty(before) ? null : make("del", {}, ...visible(before)), isEmpty(before) || isEmpty(after) ? null : " → ",
    isEmpty(after) ? null : make("ins", {}, ...visible(after))];
}

// A list of all fields in which two facts differ; `null` stands for a fact that is not there.
export function changes(before, after) {
  const names = [...new Set([...FIRST, ...Object.keys({ ...before, ...after })])]
    .filter((name) => !DERIVED.includes(name) && !isSame(before?.[name], after?.[name]));
  return make("ul", { class: "changes" }, ...names.map((name) => make("li", {},
    make("span", { class: "soft" }, `${name.replaceAll("_", " ")}: `), ...difference(before?.[name], after?.[name]).filter(Boolean))));
}
