// Sends what a form says to the API as JSON, and says what came of it. A form names its route in
// data-send; a page of another site can send no JSON in the reader's name.
"use strict";

const SPANS = { h: 3600e3, d: 86400e3 };

// The service's own time, which in a demo is not the clock's.
function present() {
  return Date.parse(document.getElementById("main").dataset.now);
}

function snooze(text, body) {
  if (text.startsWith("+")) body.until_growth = parseFloat(text) / 100;
  else body.until = moment(text);
}

function moment(text) {
  if (text.endsWith("Z")) return text;
  const ahead = text === "now" ? 0 : parseFloat(text) * SPANS[text.slice(-1)];
  return new Date(present() + ahead).toISOString();
}

const READS = {
  until: snooze,
  span: (text, body, name) => { body[name] = moment(text); },
  time: (text, body, name) => { body[name] = new Date(text).toISOString(); },
  lines: (text, body, name) => {
    const lines = text.split("\n").map((line) => line.trim()).filter(Boolean);
    body[name] = [...(body[name] ?? []), ...lines];
  },
  owner: (text, body) => { body.matchers = [`owner="${text}"`]; },
  quiet: (text, body, name) => {
    const location = Intl.DateTimeFormat().resolvedOptions().timeZone;
    body.quiet_hours = { location, ...body.quiet_hours, [name]: text };
  },
  numbers: (text, body, name) => { body[name] = text.split(",").filter((part) => part.trim()).map(Number); },
  flag: (text, body, name, field) => { body[name] = field.checked; },
};
// What says something when it is empty, too.
const ALWAYS = ["numbers", "flag"];

function bodyOf(form) {
  const body = keptOf(form);
  for (const field of form.elements) {
    if (!field.name || (!field.value && !ALWAYS.includes(field.dataset.as))) continue;
    const read = READS[field.dataset.as];
    const value = field.dataset.stands ?? field.value;
    if (read) read(value, body, field.name, field);
    else body[field.name] = value;
  }
  return body;
}

function tell(text) {
  document.getElementById("said").textContent = text;
}

function errorOf(form) {
  return form.querySelector(".error") ?? form.parentElement.querySelector(".error");
}

async function problemOf(answer) {
  try {
    return (await answer.json()).detail;
  } catch {
    return `The answer was ${answer.status}.`;
  }
}

async function send(form) {
  const [method, path] = form.dataset.send.split(" ");
  const body = bodyOf(form);
  const address = path.replace("{name}", encodeURIComponent(body.name ?? ""));
  const headers = { "Content-Type": "application/json" };
  if (form.dataset.match) headers["If-Match"] = form.dataset.match;
  else if (form.dataset.fresh !== undefined) headers["If-None-Match"] = "*";
  const answer = await fetch(address, {
    method, headers, body: method === "DELETE" ? undefined : JSON.stringify(body),
  });
  if (!answer.ok) return problemOf(answer);
  form.closest("dialog")?.close();
  form.reset();
  tell(answer.status === 202 ? await problemOf(answer) : form.dataset.done);
  htmx.trigger("#main", "live");
  return "";
}

document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (!form.dataset.send) return;
  event.preventDefault();
  const button = event.submitter ?? form.querySelector("button");
  button.disabled = true;
  try {
    errorOf(form).textContent = await send(form);
  } catch (error) {
    errorOf(form).textContent = error instanceof RangeError ? "This is no time." : "Spendwatch cannot be reached.";
  } finally {
    button.disabled = false;
  }
});

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button?.dataset.fills) fill(button);
  else if (button?.dataset.opens) document.getElementById(button.dataset.opens).showModal();
  if (button?.dataset.closes !== undefined) button.closest("dialog").close();
});
