// Fills the form that makes a thing with one that stands, so that it can be changed; and says in any
// such form what the thing would have done, before it is saved.
"use strict";

const ASKS_AFTER_MS = 400;
// What says nothing of what a thing does.
const UNASKED = ["name", "comment"];
const asked = new WeakMap();
const waits = new WeakMap();

const WRITES = {
  lines: (field, thing) => { field.value = (thing[field.name] ?? []).join("\n"); },
  numbers: (field, thing) => { field.value = (thing[field.name] ?? []).join(", "); },
  flag: (field, thing) => { field.checked = thing[field.name]; },
  quiet: (field, thing) => { field.value = thing.quiet_hours?.[field.name] ?? ""; },
  time: (field, thing) => {
    const at = new Date(thing[field.name]);
    field.value = new Date(at - at.getTimezoneOffset() * 60e3).toISOString().slice(0, 16);
  },
  span: (field, thing) => {
    const at = thing[field.name];
    field.add(new Option(`until ${shown.format(new Date(at))}, as it is`, at, false, true));
  },
  owner: (field, thing) => {
    const place = thing.matchers.findIndex((one) => /^owner *= *"?[^"]*"?$/.test(one));
    const team = thing.matchers[place]?.replace(/^owner *= *"?|"$/g, "");
    if (![...field.options].some((option) => option.value === team)) return;
    field.value = team;
    thing.matchers.splice(place, 1);
  },
};

function plain(field, thing) {
  const value = thing[field.name];
  field.value = value === null || typeof value === "object" ? "" : value ?? "";
}

// What stands of a thing and has no field of its own, or none that could show it.
function keptOf(form) {
  const { thing } = form;
  if (!thing) return {};
  const names = new Set([...form.elements].map((field) => field.name));
  const isFree = ([name, value]) => !names.has(name) || (value !== null && typeof value === "object" && !Array.isArray(value));
  const kept = Object.fromEntries(Object.entries(thing).filter(isFree));
  if (kept.quiet_hours) {
    const { start, end, ...rest } = kept.quiet_hours;
    if (rest.weekdays?.length) kept.quiet_hours = rest;
    else delete kept.quiet_hours;
  }
  return kept;
}

async function fill(button) {
  const dialog = document.getElementById(button.dataset.opens);
  const form = dialog.querySelector("form");
  const answer = await fetch(button.dataset.fills);
  if (!answer.ok) {
    tell(await problemOf(answer));
    return;
  }
  const thing = await answer.json();
  form.thing = structuredClone(thing);
  form.dataset.match = answer.headers.get("ETag");
  for (const field of form.elements) {
    if (field.type === "hidden") field.dataset.stands = thing[field.name];
    else if (field.name) (WRITES[field.dataset.as] ?? plain)(field, thing);
  }
  form.elements.name.readOnly = true;
  const title = form.querySelector("h2");
  title.dataset.was ??= title.textContent;
  title.textContent = `Change ${thing.name}`;
  dialog.showModal();
  ask(form);
}

function empty(form) {
  clearTimeout(waits.get(form));
  form.querySelector(".preview").textContent = "";
  form.querySelector(".error").textContent = "";
  if (!form.thing) return;
  delete form.thing;
  delete form.dataset.match;
  form.reset();
  for (const field of form.elements) {
    delete field.dataset.stands;
    for (const option of field.options ?? []) if (option.value.endsWith("Z")) option.remove();
  }
  form.elements.name.readOnly = false;
  const title = form.querySelector("h2");
  title.textContent = title.dataset.was;
}

const isReady = (form) => [...form.elements].every((field) => UNASKED.includes(field.name) || field.checkValidity());

async function ask(form) {
  const line = form.querySelector(".preview");
  asked.get(form)?.abort();
  if (!isReady(form)) {
    line.textContent = "";
    return;
  }
  const stop = new AbortController();
  asked.set(form, stop);
  const { name, comment, ...body } = bodyOf(form);
  try {
    const answer = await fetch(form.dataset.preview, {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body), signal: stop.signal,
    });
    line.textContent = answer.ok ? (await answer.json()).text : await problemOf(answer);
  } catch {
    if (!stop.signal.aborted) line.textContent = "";
  }
}

document.addEventListener("input", (event) => {
  const { form } = event.target;
  if (!form?.dataset.preview) return;
  clearTimeout(waits.get(form));
  waits.set(form, setTimeout(() => ask(form), ASKS_AFTER_MS));
});
document.addEventListener("close", (event) => {
  const form = event.target.querySelector("form[data-preview]");
  if (form) empty(form);
}, true);
