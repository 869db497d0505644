// Brings the page up to date when the service says that a part of it changed, and keeps the
// reader's place: what is open stays open, what is being written stays written.
"use strict";

const AT_MOST_EVERY_MS = 2000;
const LATE_AFTER_MS = 5000;

Idiomorph.defaults.callbacks.beforeAttributeUpdated = (name) => name !== "open";

// What was fetched into a place of its own is not what the page came with; and what is being written,
// in a dialog or not, is not lost when an answer comes that was asked for before.
const isWritten = (old) => old === document.activeElement && old.matches("input, select, textarea");
const isKept = (old) => old instanceof HTMLElement && ("keep" in old.dataset || old.matches("dialog[open]") || isWritten(old));
Idiomorph.defaults.callbacks.beforeNodeMorphed = (old) => !isKept(old);
Idiomorph.defaults.callbacks.beforeNodeRemoved = (old) => !(old instanceof HTMLElement && old.matches("dialog[open]"));

let stream = null;
let late = null;
let due = null;
let last = 0;

function isBusy() {
  return document.querySelector("dialog[open], #main form[data-fresh]:focus-within") !== null;
}

function refresh() {
  due = null;
  if (document.hidden) return;
  if (isBusy()) {
    due = setTimeout(refresh, AT_MOST_EVERY_MS);
    return;
  }
  last = performance.now();
  htmx.trigger("#main", "live");
}

function changed(event) {
  const parts = document.getElementById("main").dataset.parts.split(" ");
  if (!parts.includes(event.data) || due !== null) return;
  due = setTimeout(refresh, Math.max(last + AT_MOST_EVERY_MS - performance.now(), 0));
}

// Says above the page that it is not kept up to date, since when, and why.
function stale(why) {
  const line = document.getElementById("stale");
  if (!why === !line.textContent) return;
  const asOf = shown.format(new Date(document.getElementById("main").dataset.now));
  line.textContent = why ? `${why} You see how it was at ${asOf}. Trying again.` : "";
  if (!why) refresh();
}

// A stream that is refused is not asked for again by itself; it may be that the reader's token is no more.
async function again() {
  const answer = await fetch("/v1/status").catch(() => null);
  if (answer?.status === 401) location.reload();
  else if (!document.hidden) listen();
}

function listen() {
  stream?.close();
  stream = new EventSource("/live");
  stream.addEventListener("changed", changed);
  stream.addEventListener("lost", () => stale("Spendwatch cannot read its store."));
  stream.addEventListener("found", () => stale(""));
  stream.addEventListener("open", () => {
    clearTimeout(late);
    late = null;
    stale("");
  });
  stream.addEventListener("error", () => {
    late ??= setTimeout(() => {
      late = null;
      stale("Spendwatch does not answer.");
      if (stream.readyState === EventSource.CLOSED) again();
    }, LATE_AFTER_MS);
  });
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) {
    stream?.close();
  } else {
    listen();
    refresh();
  }
});
document.addEventListener("htmx:sendError", () => {
  document.getElementById("said").textContent = "Spendwatch cannot be reached; this is what it last showed.";
});
document.addEventListener("htmx:responseError", (event) => {
  const { status } = event.detail.xhr;
  if (status === 401) location.reload();
  document.getElementById("said").textContent = `The answer was ${status}; this is what was last shown.`;
});

// On a phone the names of the pages do not fit beside each other.
document.querySelector(".pages [aria-current]")?.scrollIntoView({ inline: "center", block: "nearest" });

if (!document.hidden) listen();
