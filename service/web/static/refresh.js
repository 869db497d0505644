// Replaces what is shown with what is true now, without losing the reader's place.
"use strict";

const EVERY_MS = 15000;

function placeOf(element) {
  if (element?.matches("summary")) return `#${CSS.escape(element.parentElement.id)} > summary`;
  return element?.matches("a[href]") ? `a[href="${CSS.escape(element.getAttribute("href"))}"]` : null;
}

async function refresh() {
  if (document.hidden) return;
  const said = document.getElementById("refreshed");
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    const next = new DOMParser().parseFromString(await answer.text(), "text/html");
    // A picture's address names its version: one that is here already need not be drawn again.
    for (const image of next.querySelectorAll("main img")) {
      const here = document.querySelector(`img[src="${CSS.escape(image.getAttribute("src"))}"]`);
      if (here) image.replaceWith(here);
    }
    for (const open of document.querySelectorAll("details[open]")) {
      next.getElementById(open.id)?.setAttribute("open", "");
    }
    const main = document.getElementById("main");
    const focused = placeOf(document.activeElement);
    for (const selector of ["main", "header"]) {
      const old = document.querySelector(selector);
      const fresh = next.querySelector(selector);
      if (fresh && fresh.innerHTML !== old.innerHTML) old.replaceWith(document.adoptNode(fresh));
    }
    document.title = next.title;
    if (focused && !main.isConnected) {
      document.querySelector(focused)?.focus({ preventScroll: true });
    }
    if (said) said.textContent = "";
  } catch {
    if (said) said.textContent = "Spendwatch cannot be reached; this is what it last showed.";
  }
}

setInterval(refresh, EVERY_MS);
document.addEventListener("visibilitychange", refresh);
